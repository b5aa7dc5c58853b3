package dev.postcopy.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.transport.EventLoops;
import io.netty.channel.IoEventLoopGroup;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class ServiceManagerTest {

  private final IoEventLoopGroup loops = EventLoops.named("daemon", 1);

  @TempDir private Path folder;

  @AfterEach
  void endLoops() {
    EventLoops.shutDown(loops);
  }

  private String name() {
    return folder.resolve("notify").toString();
  }

  private ServiceManager manager(Map<String, String> environment) {
    return ServiceManager.of(environment, loops.next());
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void tellsHowTheDaemonIs(boolean abstractAddress) throws InterruptedException {
    try (NotifySocket systemd = new NotifySocket(abstractAddress ? "\0" + name() : name())) {
      ServiceManager manager =
          manager(Map.of("NOTIFY_SOCKET", abstractAddress ? "@" + name() : name()));

      manager.ready();
      manager.status("one under way");
      manager.status("one under way");
      manager.stopping();

      for (String expected : new String[] {"READY=1", "STATUS=one under way", "STOPPING=1"}) {
        assertThat(systemd.next()).isEqualTo(expected);
      }
    }
  }

  @Test
  void aLoopThatHangsIsNotSaidToLive() throws InterruptedException {
    try (NotifySocket systemd = new NotifySocket(name())) {
      manager(Map.of("NOTIFY_SOCKET", name(), "WATCHDOG_USEC", "100000")).keepAlive(() -> true);
      for (int i = 0; i < 3; i++) {
        assertThat(systemd.next()).isEqualTo("WATCHDOG=1");
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
      assertThat(systemd.fallsSilent()).isTrue();
      end.countDown();
      assertThat(systemd.next()).isEqualTo("WATCHDOG=1");
    }
  }

  @Test
  void whatDoesNotLiveIsNotSaidToUntilItDoes() throws InterruptedException {
    AtomicBoolean lives = new AtomicBoolean(true);
    try (NotifySocket systemd = new NotifySocket(name())) {
      manager(Map.of("NOTIFY_SOCKET", name(), "WATCHDOG_USEC", "100000")).keepAlive(lives::get);
      assertThat(systemd.next()).isEqualTo("WATCHDOG=1");
      lives.set(false);
      assertThat(systemd.fallsSilent()).isTrue();
      lives.set(true);
      assertThat(systemd.next()).isEqualTo("WATCHDOG=1");
    }
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
    try (NotifySocket systemd = new NotifySocket(name())) {
      ServiceManager manager =
          manager(Map.of("NOTIFY_SOCKET", name(), "WATCHDOG_USEC", "1000", "WATCHDOG_PID", "1"));
      manager.keepAlive(() -> true);
      loops.next().submit(() -> {}).syncUninterruptibly();
      manager.ready();
      assertThat(systemd.next()).isEqualTo("READY=1");
    }
  }

  @Test
  void withoutAServiceManagerNothingHappens() {
    try (NotifySocket systemd = new NotifySocket(name())) {
      ServiceManager manager = manager(Map.of("WATCHDOG_USEC", "1000"));
      manager.keepAlive(() -> true);
      manager.ready();
      manager.stopping();
      assertThat(systemd.isSilent()).isTrue();
    }
  }
}
