package dev.postcopy.daemon;

import dev.postcopy.transport.EventLoops;
import io.netty.bootstrap.Bootstrap;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.IoEventLoopGroup;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.epoll.EpollDomainDatagramChannel;
import io.netty.channel.unix.DomainDatagramPacket;
import io.netty.channel.unix.DomainSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** Hears what systemd would hear. */
final class NotifySocket implements AutoCloseable {

  private final IoEventLoopGroup systemd = EventLoops.named("systemd", 1);
  private final BlockingQueue<String> heard = new LinkedBlockingQueue<>();

  NotifySocket(String path) {
    new Bootstrap()
        .group(systemd)
        .channel(EpollDomainDatagramChannel.class)
        .handler(
            new SimpleChannelInboundHandler<DomainDatagramPacket>() {
              @Override
              protected void channelRead0(ChannelHandlerContext ctx, DomainDatagramPacket packet) {
                heard.add(packet.content().toString(StandardCharsets.UTF_8));
              }
            })
        .bind(new DomainSocketAddress(path))
        .syncUninterruptibly();
  }

  /** What is said next; null where that takes long. */
  @Nullable String next() throws InterruptedException {
    return heard.poll(10, TimeUnit.SECONDS);
  }

  /** Returns when {@code state} is said, whatever else is said before. */
  boolean hears(String state) throws InterruptedException {
    String said = next();
    while (said != null && !said.equals(state)) {
      said = next();
    }
    return said != null;
  }

  /** Whether nothing is said any more; what was said before may be on its way still. */
  boolean fallsSilent() throws InterruptedException {
    while (heard.poll(1, TimeUnit.SECONDS) != null) {}
    return heard.poll(1, TimeUnit.SECONDS) == null;
  }

  /** Whether nothing was said. */
  boolean isSilent() {
    return heard.isEmpty();
  }

  @Override
  public void close() {
    EventLoops.shutDown(systemd);
  }
}
