package dev.postcopy.dest.session;

import dev.postcopy.linux.OwnedFd;
import dev.postcopy.transport.Connection;
import dev.postcopy.wire.ProtocolException;
import dev.postcopy.wire.Wire;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.EventLoop;
import io.netty.channel.WriteBufferWaterMark;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import org.jspecify.annotations.Nullable;

/**
 * Passes the device state from the bulk connection on to QEMU. While QEMU is slow the connection is
 * not read, so that no more than a few pieces pile up here. Owned by the bulk loop.
 */
final class DeviceStateFeeder extends ChannelInboundHandlerAdapter {

  /** A single piece that is on its way is no backlog. */
  private static final WriteBufferWaterMark BACKLOG =
      new WriteBufferWaterMark(Wire.MAX_STATE_BYTES, 4 * Wire.MAX_STATE_BYTES);

  private final Connection bulk;
  private @Nullable EpollDomainSocketChannel toQemu;
  private long byteLength;

  DeviceStateFeeder(Connection bulk) {
    this.bulk = bulk;
  }

  /** QEMU reads from the other end of {@code socket}, which is closed here. */
  void open(OwnedFd socket) {
    EpollDomainSocketChannel channel = new EpollDomainSocketChannel(socket.release());
    channel.config().setWriteBufferWaterMark(BACKLOG);
    channel.pipeline().addLast(this);
    toQemu = channel;
    EventLoop loop = bulk.eventLoop();
    loop.register(channel).syncUninterruptibly();
  }

  /** The next piece. */
  void onDeviceState(ByteBuf piece) {
    byteLength += piece.readableBytes();
    EpollDomainSocketChannel channel = channel();
    channel.writeAndFlush(piece.retain());
    // A QEMU that has closed its end takes nothing more, which must not stop the pages behind.
    bulk.setReading(channel.isWritable() || !channel.isActive());
  }

  /** There are no more pieces. */
  void onEnd(long expectedByteLength) {
    if (byteLength != expectedByteLength) {
      throw new ProtocolException(
          "%d bytes of device state of %d".formatted(byteLength, expectedByteLength));
    }
    channel().writeAndFlush(Unpooled.EMPTY_BUFFER).addListener(ChannelFutureListener.CLOSE);
  }

  private EpollDomainSocketChannel channel() {
    if (toQemu == null) {
      throw new ProtocolException("device state before READY");
    }
    return toQemu;
  }

  @Override
  public void channelWritabilityChanged(ChannelHandlerContext ctx) {
    bulk.setReading(ctx.channel().isWritable());
  }

  @Override
  public void channelInactive(ChannelHandlerContext ctx) {
    bulk.setReading(true);
  }

  /** QEMU closed its end; what it thinks of the state it says on its monitor. */
  @Override
  public void exceptionCaught(ChannelHandlerContext ctx, Throwable cause) {
    ctx.close();
  }
}
