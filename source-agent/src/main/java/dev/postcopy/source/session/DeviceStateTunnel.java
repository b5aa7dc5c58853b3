package dev.postcopy.source.session;

import dev.postcopy.linux.OwnedFd;
import dev.postcopy.transport.Connection;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.Wire;
import io.netty.buffer.ByteBuf;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelOption;
import io.netty.channel.EventLoop;
import io.netty.channel.FixedRecvByteBufAllocator;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import java.util.Queue;

/**
 * Takes QEMU's own migration stream, which holds the device state only, from a socket and puts it
 * on the bulk connection. Lives on that connection's event loop, so that a full connection stops
 * the reading.
 */
final class DeviceStateTunnel extends ChannelInboundHandlerAdapter {

  private final Connection bulk;
  private final Queue<SourceEvent> events;
  private long byteLength;

  private DeviceStateTunnel(Connection bulk, Queue<SourceEvent> events) {
    this.bulk = bulk;
    this.events = events;
  }

  /**
   * Begins to read.
   *
   * @param socket a connected unix socket, whose other end QEMU has; closed here, the channel has a
   *     descriptor of its own
   * @return to be {@link #giveUp given up} where the migration is
   */
  static EpollDomainSocketChannel open(OwnedFd socket, Connection bulk, Queue<SourceEvent> events) {
    EpollDomainSocketChannel channel = new EpollDomainSocketChannel(socket.release());
    channel
        .config()
        .setOption(
            ChannelOption.RECVBUF_ALLOCATOR, new FixedRecvByteBufAllocator(Wire.MAX_STATE_BYTES));
    channel.pipeline().addLast(new DeviceStateTunnel(bulk, events));
    bulk.whenWritable(
        () -> {
          if (channel.isOpen()) {
            channel.config().setAutoRead(true);
          }
        });
    EventLoop loop = bulk.eventLoop();
    loop.register(channel).awaitUninterruptibly();
    return channel;
  }

  /**
   * Closes the socket early. The destination is not told that this was all: it may have every byte
   * by then, and would load them.
   */
  static void giveUp(Channel channel) {
    channel
        .eventLoop()
        .execute(
            () -> {
              if (channel.pipeline().get(DeviceStateTunnel.class) != null) {
                channel.pipeline().remove(DeviceStateTunnel.class);
              }
              channel.close();
            });
  }

  @Override
  public void channelRead(ChannelHandlerContext ctx, Object message) {
    ByteBuf piece = (ByteBuf) message;
    try {
      byteLength += piece.readableBytes();
      // Of one size, whatever is in it: for another one the allocator would make new memory, while
      // the guest waits.
      ByteBuf frame = bulk.writer().beginDeviceState(Wire.MAX_STATE_BYTES).writeBytes(piece);
      bulk.write(bulk.writer().seal(frame));
    } finally {
      piece.release();
    }
  }

  @Override
  public void channelReadComplete(ChannelHandlerContext ctx) {
    bulk.flush();
    ctx.channel().config().setAutoRead(bulk.isWritable());
  }

  @Override
  public void channelInactive(ChannelHandlerContext ctx) {
    // Known here before it is known there.
    events.add(new SourceEvent.DeviceStateSent(byteLength));
    bulk.send(new ControlFrame.DeviceStateEnd(byteLength));
  }

  @Override
  public void exceptionCaught(ChannelHandlerContext ctx, Throwable cause) {
    ctx.close();
  }
}
