package dev.postcopy.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.transport.EventLoops;
import io.netty.bootstrap.Bootstrap;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.IoEventLoopGroup;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.epoll.EpollDomainDatagramChannel;
import io.netty.channel.unix.DomainDatagramPacket;
import io.netty.channel.unix.DomainSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class ServiceManagerTest {

  private final IoEventLoopGroup loops = EventLoops.named("daemon", 1);
  private final IoEventLoopGroup systemd = EventLoops.named("systemd", 1);
  private final BlockingQueue<String> heard = new LinkedBlockingQueue<>();

  @TempDir private Path folder;

  @AfterEach
  void endLoops() {
    EventLoops.shutDown(loops);
    EventLoops.shutDown(systemd);
  }

  private Channel listen(String path) {
    return new Bootstrap()
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
        .syncUninterruptibly()
        .channel();
  }

  private ServiceManager manager(Map<String, String> environment) {
    return ServiceManager.of(environment, loops.next());
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void tellsHowTheDaemonIs(boolean abstractAddress) throws InterruptedException {
    String name = folder.resolve("notify").toString();
    Channel listening = listen(abstractAddress ? "\0" + name : name);
    ServiceManager manager = manager(Map.of("NOTIFY_SOCKET", abstractAddress ? "@" + name : name));

    manager.ready();
    manager.status("one under way");
    manager.status("one under way");
    manager.stopping();

    for (String expected : new String[] {"READY=1", "STATUS=one under way", "STOPPING=1"}) {
      assertThat(heard.poll(10, TimeUnit.SECONDS)).isEqualTo(expected);
    }
    listening.close().syncUninterruptibly();
  }

  @Test
  void aLoopThatHangsIsNotSaidToLive() throws InterruptedException {
    Path socket = folder.resolve("notify");
    Channel listening = listen(socket.toString());
    manager(Map.of("NOTIFY_SOCKET", socket.toString(), "WATCHDOG_USEC", "100000"));
    for (int i = 0; i < 3; i++) {
      assertThat(heard.poll(10, TimeUnit.SECONDS)).isEqualTo("WATCHDOG=1");
    }

    CountDownLatch hung = new CountDownLatch(1);
    CountDownLatch end = new CountDownLatch(1);
    loops
        .next()
        .execute(
            () -> {
              hung.countDown();
              awaitUninterruptibly(end);
            });
    assertThat(hung.await(10, TimeUnit.SECONDS)).isTrue();
    // What it said before may be on its way still.
    while (heard.poll(1, TimeUnit.SECONDS) != null) {}
    assertThat(heard.poll(1, TimeUnit.SECONDS)).isNull();
    end.countDown();
    assertThat(heard.poll(10, TimeUnit.SECONDS)).isEqualTo("WATCHDOG=1");
    listening.close().syncUninterruptibly();
  }

  private static void awaitUninterruptibly(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Test
  void theWatchdogOfAnotherProcessIsLeftAlone() throws InterruptedException {
    Path socket = folder.resolve("notify");
    Channel listening = listen(socket.toString());
    ServiceManager manager =
        manager(
            Map.of(
                "NOTIFY_SOCKET", socket.toString(), "WATCHDOG_USEC", "1000", "WATCHDOG_PID", "1"));
    loops.next().submit(() -> {}).syncUninterruptibly();
    manager.ready();
    assertThat(heard.poll(10, TimeUnit.SECONDS)).isEqualTo("READY=1");
    listening.close().syncUninterruptibly();
  }

  @Test
  void withoutAServiceManagerNothingHappens() {
    ServiceManager manager = manager(Map.of("WATCHDOG_USEC", "1000"));
    manager.ready();
    manager.stopping();
    assertThat(heard).isEmpty();
  }
}
