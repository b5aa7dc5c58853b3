package dev.postcopy.transport.tls;

import dev.postcopy.cli.HostAndPort;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.ssl.SslCloseCompletionEvent;
import io.netty.handler.ssl.SslHandshakeCompletionEvent;
import java.net.InetSocketAddress;
import java.util.function.Consumer;

/**
 * Behind the TLS handler: tells how the handshake ended, and turns what the TLS handler reports
 * later into one line. Nothing else of the connection is there before the handshake is over, so
 * that a stranger gets no further.
 */
public final class HandshakeEnd extends ChannelInboundHandlerAdapter {

  private final Channel channel;
  private final Runnable succeeded;
  private final Consumer<TlsFailure> failed;
  private boolean over;

  /**
   * @param channel its own
   * @param succeeded called on the event loop, before the peer's first frame is looked at
   * @param failed called on the event loop; the TLS handler closes the connection
   */
  public HandshakeEnd(Channel channel, Runnable succeeded, Consumer<TlsFailure> failed) {
    this.channel = channel;
    this.succeeded = succeeded;
    this.failed = failed;
  }

  @Override
  public void userEventTriggered(ChannelHandlerContext ctx, Object event) {
    switch (event) {
      case SslHandshakeCompletionEvent end when end.isSuccess() -> {
        over = true;
        succeeded.run();
      }
      case SslHandshakeCompletionEvent end ->
          failed.accept(TlsFailure.explain(end.cause(), peerName()));
      // The peer's close_notify: nothing follows it, and all that came before was delivered.
      case SslCloseCompletionEvent end -> ctx.close();
      default -> ctx.fireUserEventTriggered(event);
    }
  }

  @Override
  public void exceptionCaught(ChannelHandlerContext ctx, Throwable cause) {
    if (!over) {
      // Told by the event above, which comes in any case.
      ctx.close();
    } else if (TlsFailure.isOfTls(cause)) {
      ctx.fireExceptionCaught(TlsFailure.explain(cause, peerName()));
    } else {
      ctx.fireExceptionCaught(cause);
    }
  }

  private String peerName() {
    return channel.remoteAddress() instanceof InetSocketAddress address
        ? new HostAndPort(address.getHostString(), address.getPort()).toString()
        : "the other side";
  }
}
