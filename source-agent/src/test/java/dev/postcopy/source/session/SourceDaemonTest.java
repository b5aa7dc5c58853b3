package dev.postcopy.source.session;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import dev.postcopy.control.ControlClient;
import dev.postcopy.control.ControlSocket;
import dev.postcopy.daemon.VmFolder;
import dev.postcopy.journal.Journal;
import dev.postcopy.journal.SourceEntry;
import dev.postcopy.journal.VmIdentity;
import dev.postcopy.linux.ProcessStart;
import dev.postcopy.metrics.MigrationLedger;
import dev.postcopy.source.page.BackgroundPusher.PushOrder;
import dev.postcopy.transport.tls.TlsSettings;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.UUID;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;
import tools.jackson.databind.node.ObjectNode;

/** What a source that serves is told over its socket, and does not do. */
@Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class SourceDaemonTest {

  private static final int PID = (int) ProcessHandle.current().pid();

  @TempDir private Path folder;

  @SuppressWarnings("NullAway.Init") // set before each test
  private SourceDaemon daemon;

  @BeforeEach
  void serve() throws IOException {
    Path vms = Files.createDirectory(folder.resolve("vms"));
    Files.createFile(vms.resolve("web"));
    daemon =
        SourceDaemon.start(
            new MigrateOptions(
                Path.of(""),
                "",
                new HostAndPort("localhost", 0),
                Files.createDirectory(state()),
                Duration.ofSeconds(1),
                Duration.ofSeconds(1),
                Long.MAX_VALUE,
                OptionalLong.empty(),
                PushOrder.FROM_LAST_FAULT,
                new TlsSettings(Optional.empty(), folder.resolve("none"), true),
                Optional.empty(),
                PrecopyOptions.OFF),
            new VmFolder(Optional.of(vms)),
            new CommandRunner(thrown -> null)::toOutcome,
            new MigrationLedger(state(), Optional.empty()),
            Map.of());
  }

  private Path state() {
    return folder.resolve("state");
  }

  @AfterEach
  void stop() {
    daemon.stop();
  }

  private JsonNode tell(String request) {
    Refusal none = new Refusal("nobody listens", "start one");
    try (ControlClient client =
        ControlClient.ask(
            ControlSocket.ofDaemon(state(), SourceDaemon.AGENT),
            new ObjectMapper().readValue(request, ObjectNode.class),
            () -> none)) {
      return client.only();
    }
  }

  /** An agent that died left this of a QEMU that is gone, and its socket with it. */
  private void leaveOfAQemuThatIsGone(String vm) {
    UUID session = UUID.randomUUID();
    String socket = folder.resolve("vms").resolve(vm).toString();
    long otherTicks = ProcessStart.ticks(PID) - 1;
    try (Journal<SourceEntry> journal =
        Journal.create(state(), session.toString(), SourceEntry.KIND, SourceEntry.class)) {
      journal.write(
          new SourceEntry(
              session,
              SourceEntry.State.COMMITTED,
              0,
              new VmIdentity(PID, otherTicks, socket, List.of()),
              vm,
              "there:7000",
              true,
              Set.of(),
              0,
              false,
              0));
    }
  }

  /** What is known of it when it has ended, and writes to the folder no more. */
  private JsonNode resumed(String said) throws InterruptedException {
    leaveOfAQemuThatIsGone("gone");
    tell("{\"command\":\"resume\",\"vm\":\"gone\"%s}".formatted(said));
    JsonNode status = tell("{\"command\":\"status\",\"vm\":\"gone\"}");
    while (!status.path("ended").asBoolean()) {
      Thread.sleep(10);
      status = tell("{\"command\":\"status\",\"vm\":\"gone\"}");
    }
    return status;
  }

  @Test
  void aMigrationIsTakenUpByTheNameOfAMachineWhoseSocketIsGone() throws InterruptedException {
    assertThat(resumed("").path("peer").asString()).isEqualTo("there:7000");
  }

  @Test
  void aMigrationIsTakenUpToWhereItsDestinationIsNow() throws InterruptedException {
    assertThat(resumed(",\"to\":\"elsewhere:7001\"").path("peer").asString())
        .isEqualTo("elsewhere:7001");
  }

  @Test
  void nothingIsTakenUpToWhatIsNoAddress() {
    assertThatThrownBy(() -> resumed(",\"to\":\":\""))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining("name the destination");
    assertThat(tell("{\"command\":\"list\"}").path("migrations")).isEmpty();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "\"precopy\":\"often\" | 'often' is not auto, off, or a number of rounds; ",
        "\"precopy\":0 | '0' is not auto, off, or a number of rounds; ",
        "\"precopy\":{} | '' is not auto, off, or a number of rounds; ",
        "\"downtime_limit_ms\":-1 | not a downtime limit: -1; give milliseconds",
        "\"downtime_limit_ms\":\"soon\" | not a downtime limit: \"soon\"; give milliseconds",
        "\"downtime_limit_ms\":99999999999 | not a downtime limit: 99999999999; give milliseconds",
        "\"switch_after_ms\":-1 | not a moment: -1; give milliseconds",
      })
  void wrongWordsAboutMemoryThatGoesAheadAreRefusedAndNothingBegins(String said, String answer) {
    assertThatThrownBy(
            () ->
                tell(
                    "{\"command\":\"migrate\",\"vm\":\"web\",\"to\":\"there:7000\",%s}"
                        .formatted(said)))
        .isInstanceOf(Refusal.class)
        .hasMessageStartingWith(answer);
    assertThat(tell("{\"command\":\"list\"}").path("migrations")).isEmpty();
  }
}
