package dev.postcopy.daemon;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.AppenderBase;
import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.ExitCode;
import dev.postcopy.cli.Refusal;
import dev.postcopy.control.ControlClient;
import dev.postcopy.control.ControlSocket;
import dev.postcopy.logging.LogFields;
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
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

@Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class MigrationTableTest {

  private static Refusal none() {
    return new Refusal("nobody is here", "start one");
  }

  @TempDir private Path folder;
  private final IoEventLoopGroup loops = EventLoops.named("daemon", 1);

  @SuppressWarnings("NullAway.Init") // set before each test
  private MigrationTable table;

  @SuppressWarnings("NullAway.Init") // set before each test
  private ControlSocket socket;

  @BeforeEach
  void listen() {
    table =
        new MigrationTable(
            loops.next(),
            new CommandRunner(thrown -> null)::toOutcome,
            new MigrationLedger(folder, Optional.empty()),
            ServiceManager.of(Map.of(), loops.next()));
    socket = ControlSocket.open(loops.next(), file(), table::answer);
  }

  @AfterEach
  void end() {
    socket.close();
    EventLoops.shutDown(loops);
  }

  private Path file() {
    return ControlSocket.ofDaemon(folder, "agent");
  }

  private static MigrationView viewOf(String vm, Migration migration) {
    return new MigrationView("source", vm, new PhaseLog(), migration::progress, new FaultTimes());
  }

  /** A migration that ends when it is told to. */
  private static class Waiting implements Migration {
    final CompletableFuture<Outcome> outcome = new CompletableFuture<>();
    volatile boolean committed;

    @Override
    public Outcome run() {
      return outcome.join();
    }

    @Override
    public void cancel() {
      if (!committed) {
        end(ExitCode.FAILED_AT_SOURCE, "failed");
      }
    }

    void end(ExitCode code, String status) {
      outcome.complete(new Outcome(code, MigrationReport.without(status, "")));
    }

    @Override
    public Optional<String> obstacleToCancel() {
      return committed ? Optional.of("it is gone") : Optional.empty();
    }

    @Override
    public List<IoEventLoop> loops() {
      return List.of();
    }

    @Override
    public MigrationView view(String vm) {
      return viewOf(vm, this);
    }

    @Override
    public MigrationProgress progress() {
      return new MigrationProgress(
          committed ? "DRAINING" : "PREPARING",
          2,
          new MigrationReport.PageCounts(0, 1, 0, 0),
          3,
          4,
          5,
          0,
          0);
    }
  }

  private CompletableFuture<Outcome> start(String vm, Migration migration) {
    return start(vm, Path.of("/vms", vm), migration);
  }

  private CompletableFuture<Outcome> start(String vm, Path qmp, Migration migration) {
    CompletableFuture<Outcome> ended = new CompletableFuture<>();
    loops
        .next()
        .submit(
            () ->
                table.start(
                    new MigrationTable.Subject(vm, qmp, "there:7000"), migration, ended::complete))
        .syncUninterruptibly();
    return ended;
  }

  private ControlClient ask(String command, String vm) {
    ObjectNode request =
        JsonNodeFactory.instance.objectNode().put("command", command).put("vm", vm);
    return ControlClient.ask(file(), request, MigrationTableTest::none);
  }

  private JsonNode only(String command, String vm) {
    try (ControlClient client = ask(command, vm)) {
      return client.only();
    }
  }

  @Test
  void aMachineMovesOnceAtATime() {
    Waiting first = new Waiting();
    CompletableFuture<Outcome> ended = start("one", first);
    assertThatThrownBy(() -> start("one", new Waiting()))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining("a migration of one is under way");
    start("two", new Waiting());

    first.end(ExitCode.COMPLETED, "completed");
    ended.join();
    start("one", new Waiting());
    assertThat(only("status", "one").path("ended").asBoolean()).isFalse();
    assertThat(only("list", "").path("migrations").valueStream())
        .extracting(status -> status.path("vm").asString())
        .containsExactly("two", "one");
  }

  @Test
  void whatIsLoggedDuringAMigrationSaysWhoseItIsAndInWhichPhase() {
    Logger logger = (Logger) LoggerFactory.getLogger("dev.postcopy.test");
    List<Map<String, String>> fields = new CopyOnWriteArrayList<>();
    AppenderBase<ILoggingEvent> lines =
        new AppenderBase<>() {
          @Override
          protected void append(ILoggingEvent event) {
            fields.add(LogFields.current());
          }
        };
    lines.start();
    logger.addAppender(lines);
    Waiting migration =
        new Waiting() {
          @Override
          public Outcome run() {
            logger.warn("nothing was touched yet");
            LogFields.enter("SWITCHING_OVER");
            logger.warn("the guest stands still");
            return super.run();
          }
        };
    migration.end(ExitCode.COMPLETED, "completed");
    start("one", migration).join();
    loops.next().submit(() -> logger.warn("of no migration")).syncUninterruptibly();

    assertThat(fields)
        .containsExactly(
            Map.of("VM", "one", "PEER", "there:7000", "PHASE", "preparing"),
            Map.of("VM", "one", "PEER", "there:7000", "PHASE", "switching_over"),
            Map.of());
  }

  @Test
  void whoFollowsIsToldTheEnd() {
    Waiting migration = new Waiting();
    start("one", migration);
    try (ControlClient client = ask("follow", "/vms/one")) {
      JsonNode status = client.only();
      assertThat(status.path("phase").asString()).isEqualTo("preparing");
      assertThat(status.path("ended").asBoolean()).isFalse();
      migration.end(ExitCode.COMPLETED, "completed");
      while (!status.path("ended").asBoolean()) {
        status = client.only();
      }
      assertThat(status.at("/report/status").asString()).isEqualTo("completed");
      assertThat(status.path("exit_code").asInt(-1)).isZero();
      assertThat(client.next()).isNull();
    }
  }

  @Test
  void aRefusedMigrationIsAnEndToo() {
    CompletableFuture<Outcome> ended =
        start(
            "one",
            new Migration() {
              @Override
              public Outcome run() {
                throw new Refusal("no QEMU", "start one");
              }

              @Override
              public void cancel() {}

              @Override
              public Optional<String> obstacleToCancel() {
                return Optional.empty();
              }

              @Override
              public List<IoEventLoop> loops() {
                return List.of();
              }

              @Override
              public MigrationProgress progress() {
                return MigrationProgress.none("PREPARING");
              }

              @Override
              public MigrationView view(String vm) {
                return viewOf(vm, this);
              }
            });
    assertThat(ended.join().exitCode()).isEqualTo(ExitCode.REFUSED);
    assertThat(only("status", "one").at("/report/reason").asString())
        .isEqualTo("no QEMU; start one");
    assertThatThrownBy(() -> only("cancel", "one")).hasMessageContaining("has ended: refused");
  }

  /** The wrong one must not be cancelled. */
  @Test
  void ofTwoMachinesThatAreCalledAlikeOneIsNamedByItsSocket() {
    Waiting here = new Waiting();
    CompletableFuture<Outcome> ended = start("one", Path.of("/here/one"), here);
    start("one", Path.of("/there/one"), new Waiting());

    assertThatThrownBy(() -> only("cancel", "one"))
        .hasMessageContaining("2 machines that are called 'one'")
        .hasMessageContaining("/here/one or /there/one");
    assertThat(only("status", "/there/one").path("socket").asString()).isEqualTo("/there/one");

    here.end(ExitCode.COMPLETED, "completed");
    ended.join();
    assertThat(only("status", "one").path("socket").asString())
        .as("of the one that is on its way")
        .isEqualTo("/there/one");
  }

  @Test
  void whatBelongsToTheDestinationIsNotCancelled() {
    Waiting migration = new Waiting();
    migration.committed = true;
    start("one", migration);
    assertThatThrownBy(() -> only("cancel", "one")).hasMessageContaining("it is gone");
    assertThatThrownBy(() -> only("cancel", "other"))
        .hasMessageContaining("no migration of 'other' is known");
    assertThat(migration.outcome).isNotDone();
  }

  @Test
  void settlingEndsWhatCanBeEndedAndLeavesTheOthers() {
    Waiting early = new Waiting();
    Waiting late = new Waiting();
    late.committed = true;
    CompletableFuture<Outcome> ended = start("early", early);
    start("late", late);

    table.settle(Duration.ofSeconds(30));

    assertThat(ended).isCompletedWithValueMatching(o -> o.exitCode() == ExitCode.FAILED_AT_SOURCE);
    assertThat(late.outcome).isNotDone();
  }
}
