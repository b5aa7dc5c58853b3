package dev.postcopy.it;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.transport.tls.TestAuthority;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;

/** What preflight says of real QEMUs: all is well, or what is not, and what to do. */
final class PreflightIT {

  private static final Duration TIMEOUT = Duration.ofSeconds(60);
  private static final int RANGE_END_MIB = 32;
  private static final int NOBODY_LISTENS = 1;

  @SuppressWarnings("NullAway.Init") // set before each test
  private Path folder;

  static Stream<String> qemuVersions() {
    return TestEnvironment.qemuVersions();
  }

  @BeforeEach
  void createFolder() {
    folder = TestEnvironment.newFolder("preflight");
  }

  @AfterEach
  void deleteFolder() {
    TestEnvironment.deleteFolder(folder);
  }

  private static QemuProcess.Builder guest() {
    return QemuProcess.builder("source").memoryMib(64).bootSector(RANGE_END_MIB).resting();
  }

  /** Exit code 0, and no line says that something does not hold. */
  private static List<String> requireHolds(AgentProcess agent) {
    try (agent) {
      assertThat(agent.awaitExit(TIMEOUT)).as(agent.toString()).isEqualTo(0);
      assertThat(agent.stdout()).as(agent.toString()).isNotEmpty();
      assertThat(agent.stdout()).noneMatch(line -> line.startsWith("✗"));
      assertThat(agent.messages()).as(agent.toString()).isEmpty();
      return agent.stdout();
    }
  }

  /** Exit code 2, and one line says what does not hold, with these words. */
  private static void requireFails(AgentProcess agent, String... words) {
    try (agent) {
      assertThat(agent.awaitExit(TIMEOUT)).as(agent.toString()).isEqualTo(2);
      List<String> failed = agent.stdout().stream().filter(line -> line.startsWith("✗")).toList();
      assertThat(failed).as(agent.toString()).hasSize(1);
      assertThat(failed.getFirst()).contains("; ").contains(words);
      assertThat(agent.stdout()).as(agent.toString()).anyMatch(line -> line.startsWith("✓"));
    }
  }

  private static void requireLine(List<String> lines, String... words) {
    assertThat(lines).anySatisfy(line -> assertThat(line).contains(words));
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void allIsWell(String version) {
    TestAuthority authority = TestAuthority.create(folder.resolve("ca"));
    String at = authority.issue("destination", "IP:127.0.0.1").toString();
    String from = authority.issue("source", "DNS:source.example").toString();
    try (QemuProcess source = guest().version(version).start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      List<String> there =
          requireHolds(
              AgentProcess.preflightDestination(
                  destination, "--listen", "127.0.0.1:0", "--tls-dir", at));
      requireLine(there, "✓ ptrace");
      requireLine(there, "✓ userfaultfd");
      requireLine(there, "✓ RAM ram0", "64 MiB");
      requireLine(there, "✓ RAM file of ram0", "tmpfs");
      requireLine(there, "room for the guest");
      requireLine(there, "✓ certificate of this host", "valid until");
      requireLine(there, "✓ port");

      try (AgentProcess receiving = AgentProcess.receive(destination, "--tls-dir", at, "-v")) {
        int port = receiving.awaitListening();
        List<String> here =
            requireHolds(
                AgentProcess.preflightSource(
                    source, "--to", "127.0.0.1:" + port, "--tls-dir", from));
        requireLine(here, "✓ guest", "running");
        requireLine(here, "✓ devices");
        requireLine(here, "memory that goes ahead");
        requireLine(here, "✓ QEMU's own blockers");
        requireLine(here, "✓ destination 127.0.0.1:" + port, "both sides");
        requireLine(here, "✓ certificate of the destination", "valid until");
        requireLine(here, "✓ clocks", "agree");

        // It was not taken for a migration: the one that follows is served.
        receiving.awaitLog("has begun no migration");
        assertThat(receiving.stderr()).noneMatch(line -> line.contains("WARN"));
        try (Migration migration =
            new Migration(AgentProcess.migrate(source, port, "--tls-dir", from), receiving)) {
          migration.requireCompleted();
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void unprivilegedQemuNeedsTheDevice(String version) {
    TestEnvironment.get().requireUnprivilegedUser();
    try (QemuProcess source = guest().version(version).start();
        QemuProcess destination = source.incomingTwin("destination").unprivileged().start()) {
      requireLine(
          requireHolds(AgentProcess.preflightDestination(destination)),
          "✓ userfaultfd",
          "/dev/userfaultfd");
    }
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void privateMemoryFailsOnBothSides(String version) {
    try (QemuProcess source = guest().version(version).ram(QemuProcess.Ram.PRIVATE_FILE).start();
        QemuProcess destination =
            guest().version(version).incoming().ram(QemuProcess.Ram.PRIVATE_FILE).start()) {
      requireFails(AgentProcess.preflightSource(source), "RAM ram0", "not shared", "share=on");
      requireFails(
          AgentProcess.preflightDestination(destination), "RAM ram0", "not shared", "share=on");
    }
  }

  @Test
  void memoryThatANewQemuSendsItselfFails() {
    try (QemuProcess source = guest().version("10.0").ram(QemuProcess.Ram.MEMFD).start()) {
      requireFails(AgentProcess.preflightSource(source), "RAM ram0", "memfd", "share=on");
    }
  }

  @Test
  void everythingThatIsInTheWayIsToldAtOnce() {
    try (QemuProcess source =
            guest()
                .ramOptions("prealloc=on")
                .arguments("-object", "memory-backend-ram,id=spare,size=16M,share=off")
                .start();
        AgentProcess agent =
            AgentProcess.preflightSource(source, "--to", "127.0.0.1:" + NOBODY_LISTENS, "--json")) {
      assertThat(agent.awaitExit(TIMEOUT)).as(agent.toString()).isEqualTo(2);
      JsonNode report = agent.report();
      assertThat(report.path("status").asString()).isEqualTo("refused");
      List<String> failed =
          report
              .path("checks")
              .valueStream()
              .filter(check -> check.path("verdict").asString().equals("failed"))
              .map(check -> check.path("name").asString())
              .toList();
      assertThat(failed)
          .containsExactlyInAnyOrder(
              "RAM ram0", "RAM spare", "destination 127.0.0.1:" + NOBODY_LISTENS);
      assertThat(report.path("checks").valueStream())
          .allMatch(check -> check.path("finding").isString())
          .filteredOn(check -> check.path("verdict").asString().equals("failed"))
          .allMatch(check -> !check.path("remedy").asString().isEmpty());
    }
  }

  @Test
  void certificatesThatDoNotFitFail() {
    TestAuthority authority = TestAuthority.create(folder.resolve("ca"));
    String at = authority.issue("destination", "DNS:dest.example").toString();
    String from = authority.issue("source", "DNS:source.example").toString();
    String stranger =
        TestAuthority.create(folder.resolve("other")).issue("x", "DNS:x.example").toString();
    try (QemuProcess source = guest().start();
        QemuProcess destination = source.incomingTwin("destination").start();
        AgentProcess receiving = AgentProcess.receive(destination, "--tls-dir", at)) {
      String to = "127.0.0.1:" + receiving.awaitListening();
      requireFails(
          AgentProcess.preflightSource(source, "--to", to, "--tls-dir", from),
          "not for that name",
          "--tls-name");
      requireFails(
          AgentProcess.preflightSource(source, "--to", to, "--tls-dir", stranger),
          "not trusted here");
      requireFails(
          AgentProcess.preflightSource(
              source, "--to", to, "--tls-dir", folder.resolve("none").toString()),
          "is not there",
          "cert.pem");
      requireHolds(
          AgentProcess.preflightSource(
              source, "--to", to, "--tls-dir", from, "--tls-name", "dest.example"));
    }
  }

  /** With TLS 1.3 the source alone cannot know it. */
  @Test
  void certificateThatTheDestinationDoesNotTakeFails() throws Exception {
    TestAuthority authority = TestAuthority.create(folder.resolve("ca"));
    String at = authority.issue("destination", "IP:127.0.0.1").toString();
    Path stranger = TestAuthority.create(folder.resolve("other")).issue("x", "DNS:x.example");
    Files.write(stranger.resolve("ca.pem"), Files.readAllBytes(folder.resolve("ca/ca.pem")));
    try (QemuProcess source = guest().start();
        QemuProcess destination = source.incomingTwin("destination").start();
        AgentProcess receiving = AgentProcess.receive(destination, "--tls-dir", at)) {
      requireFails(
          AgentProcess.preflightSource(
              source,
              "--to",
              "127.0.0.1:" + receiving.awaitListening(),
              "--tls-dir",
              stranger.toString()),
          "does not take our certificate");
    }
  }

  @Test
  void destinationThatRunsAGuestFails() {
    try (QemuProcess source = guest().start()) {
      requireFails(
          AgentProcess.preflightDestination(source), "guest", "running", "-incoming defer");
    }
  }

  @Test
  void monitorThatIsNotThereFails() {
    try (QemuProcess source = guest().start()) {
      try (AgentProcess agent =
          AgentProcess.start(
              List.of(),
              "source-agent",
              "preflight",
              "--qmp",
              source.folder().resolve("none.sock").toString())) {
        assertThat(agent.awaitExit(TIMEOUT)).as(agent.toString()).isEqualTo(2);
        assertThat(agent.stdout().getFirst()).startsWith("✗ monitor").contains("-qmp unix:");
      }
    }
  }
}
