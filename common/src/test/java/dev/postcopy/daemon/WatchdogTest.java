package dev.postcopy.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.ExitCode;
import dev.postcopy.metrics.FaultTimes;
import dev.postcopy.metrics.MigrationLedger;
import dev.postcopy.metrics.MigrationProgress;
import dev.postcopy.metrics.MigrationReport;
import dev.postcopy.metrics.MigrationView;
import dev.postcopy.metrics.Outcome;
import dev.postcopy.metrics.PhaseLog;
import dev.postcopy.transport.EventLoops;
import io.netty.channel.IoEventLoop;
import io.netty.channel.IoEventLoopGroup;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What systemd's watchdog is told while migrations are under way. */
@Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class WatchdogTest {

  private static final String LIVES = "WATCHDOG=1";

  private final IoEventLoopGroup daemon = EventLoops.named("daemon", 1);
  private final CountDownLatch released = new CountDownLatch(1);
  private final Waiting first = new Waiting();
  private final Waiting second = new Waiting();

  @TempDir private Path folder;

  @SuppressWarnings("NullAway.Init") // set before each test
  private NotifySocket systemd;

  @SuppressWarnings("NullAway.Init") // set before each test
  private MigrationTable table;

  @BeforeEach
  void serve() {
    String socket = folder.resolve("notify").toString();
    systemd = new NotifySocket(socket);
    table =
        new MigrationTable(
            daemon.next(),
            new CommandRunner(thrown -> null)::toOutcome,
            new MigrationLedger(folder, Optional.empty()),
            ServiceManager.of(
                Map.of("NOTIFY_SOCKET", socket, "WATCHDOG_USEC", "100000"), daemon.next()));
  }

  @AfterEach
  void end() {
    released.countDown();
    systemd.close();
    List.of(daemon, first.group, second.group).forEach(EventLoops::shutDown);
  }

  /** A migration whose session waits, and whose loop turns, until they are told otherwise. */
  private static final class Waiting implements Migration {

    final CompletableFuture<Outcome> outcome = new CompletableFuture<>();
    final IoEventLoopGroup group = EventLoops.named("own", 1);

    @Override
    public Outcome run() {
      return outcome.join();
    }

    @Override
    public void cancel() {}

    @Override
    public Optional<String> obstacleToCancel() {
      return Optional.of("it is gone");
    }

    @Override
    public List<IoEventLoop> loops() {
      return List.of(group.next());
    }

    @Override
    public MigrationProgress progress() {
      return MigrationProgress.none("DRAINING");
    }

    @Override
    public MigrationView view(String vm) {
      return new MigrationView("source", vm, new PhaseLog(), this::progress, new FaultTimes());
    }
  }

  private CompletableFuture<Outcome> start(String vm, Migration migration) {
    CompletableFuture<Outcome> ended = new CompletableFuture<>();
    daemon
        .next()
        .submit(
            () ->
                table.start(
                    new MigrationTable.Subject(vm, Path.of("/vms", vm), "there:7000"),
                    migration,
                    ended::complete))
        .syncUninterruptibly();
    return ended;
  }

  private void hang(Waiting migration) {
    migration.group.execute(
        () -> {
          try {
            released.await();
          } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
          }
        });
  }

  @Test
  void sessionsThatWaitAreNoReason() throws InterruptedException {
    start("one", first);
    start("two", second);

    for (int i = 0; i < 10; i++) {
      assertThat(systemd.hears(LIVES)).isTrue();
    }
  }

  @Test
  void aLoopOfOneMigrationThatHangsIsAReasonUntilItTurnsAgain() throws InterruptedException {
    start("one", first);
    start("two", second);
    assertThat(systemd.hears(LIVES)).isTrue();

    hang(second);

    assertThat(systemd.fallsSilent()).isTrue();
    released.countDown();
    assertThat(systemd.hears(LIVES)).isTrue();
  }

  /** Its loops end before the daemon hears of it, and may drop what they were asked. */
  @Test
  void theLoopsOfAMigrationThatHasEndedAreNotWaitedFor() throws InterruptedException {
    CompletableFuture<Outcome> ended = start("one", first);
    hang(first);
    assertThat(systemd.fallsSilent()).isTrue();

    EventLoops.shutDown(first.group);
    assertThat(systemd.hears(LIVES)).as("while its loop hangs in its end").isTrue();

    released.countDown();
    first.group.terminationFuture().syncUninterruptibly();
    for (int i = 0; i < 10; i++) {
      assertThat(systemd.hears(LIVES)).as("when its loop is gone").isTrue();
    }
    first.outcome.complete(
        new Outcome(ExitCode.COMPLETED, MigrationReport.without("completed", "")));
    ended.join();
    assertThat(systemd.hears(LIVES)).isTrue();
  }
}
