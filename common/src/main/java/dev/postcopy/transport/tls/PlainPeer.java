package dev.postcopy.transport.tls;

import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameWriter;
import dev.postcopy.wire.Wire;
import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.util.ReferenceCountUtil;

/**
 * In front of the TLS handler of an agent that listens: a source agent that speaks our protocol
 * without TLS is told so in its own words, and sent away. Everybody else is the TLS handler's.
 */
public final class PlainPeer extends ChannelInboundHandlerAdapter {

  @Override
  public void channelRead(ChannelHandlerContext ctx, Object message) {
    ByteBuf bytes = (ByteBuf) message;
    if (bytes.isReadable() && bytes.getByte(bytes.readerIndex()) == (byte) (Wire.MAGIC >> 8)) {
      ReferenceCountUtil.release(message);
      ctx.writeAndFlush(
              new FrameWriter(ctx.alloc())
                  .control(
                      new ControlFrame.Refuse(
                          "it speaks TLS only", "give the source agent --tls-dir")))
          .addListener(ChannelFutureListener.CLOSE);
      return;
    }
    ctx.fireChannelRead(message);
    ctx.pipeline().remove(this);
  }
}
