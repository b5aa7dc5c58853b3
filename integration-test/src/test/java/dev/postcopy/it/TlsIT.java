package dev.postcopy.it;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.transport.tls.TestAuthority;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.List;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Real guests over TLS, with certificates of openssl; and who is not let in. */
final class TlsIT {

  private static final Duration TIMEOUT = Duration.ofSeconds(60);
  private static final int RANGE_END_MIB = 32;

  @SuppressWarnings("NullAway.Init") // set before each test
  private Path folder;

  @SuppressWarnings("NullAway.Init") // set before each test
  private TestAuthority authority;

  static Stream<String> qemuVersions() {
    return TestEnvironment.qemuVersions();
  }

  @BeforeEach
  void createAuthority() {
    folder = TestEnvironment.newFolder("tls");
    authority = TestAuthority.create(folder.resolve("ca"));
  }

  @AfterEach
  void deleteCertificates() {
    TestEnvironment.deleteFolder(folder);
  }

  private String source() {
    return authority.issue("source", "DNS:source.example").toString();
  }

  private String destination() {
    return authority.issue("destination", "IP:127.0.0.1").toString();
  }

  private Path allow(String... lines) {
    try {
      return Files.write(folder.resolve("allow"), List.of(lines));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static QemuProcess.Builder linux(String version) {
    return QemuProcess.builder("source")
        .version(version)
        .memoryMib(224)
        .kernelParameters("pc.mem_mib=64 pc.hot_mib=16 pc.zero_mib=8 pc.think_us=100");
  }

  private static void requireGoesOn(QemuProcess moved, LinuxGuest.Heartbeat before) {
    LinuxGuest guest = LinuxGuest.on(moved);
    LinuxGuest.Heartbeat after = guest.awaitHeartbeat(TIMEOUT);
    assertThat(after.ops()).isGreaterThan(before.ops());
    LinuxGuest.Verification verification = guest.verify();
    assertThat(verification.ok()).as(verification.text()).isTrue();
    assertThat(guest.corruptions()).isEmpty();
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void guestMovesOverTls(String version) {
    try (QemuProcess source = linux(version).start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      LinuxGuest guest = LinuxGuest.on(source);
      guest.awaitReady();
      LinuxGuest.Heartbeat before = guest.awaitHeartbeat(TIMEOUT);

      AgentProcess receiving =
          AgentProcess.receive(
              destination,
              "--tls-dir",
              destination(),
              "--allow",
              allow("source.example *").toString());
      int port = receiving.awaitListening();
      try (Migration migration =
          new Migration(AgentProcess.migrate(source, port, "--tls-dir", source()), receiving)) {
        migration.requireCompleted();
      }
      Migration.requireLetGo(source, destination);
      requireGoesOn(destination, before);
    }
  }

  @Test
  void agentThatWasKilledComesBackWithARenewedCertificate() {
    requireSurvivesAKillInTheDrain(
        false, () -> new String[] {"--tls-dir", destination()}, () -> {});
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void whoeverIsTakenOffTheListInTheDrainBringsTheRestOfItsGuest(boolean killsSource) {
    String[] flags = {"--tls-dir", destination(), "--allow", allow("source.example *").toString()};
    requireSurvivesAKillInTheDrain(killsSource, () -> flags, () -> allow("another.example *"));
  }

  /** One of the agents comes back behind {@code beforeTheKill}, and the migration is completed. */
  private void requireSurvivesAKillInTheDrain(
      boolean killsSource, Supplier<String[]> destinationFlags, Runnable beforeTheKill) {
    try (QemuProcess source = linux("10.0").start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      LinuxGuest guest = LinuxGuest.on(source);
      guest.awaitReady();
      LinuxGuest.Heartbeat before = guest.awaitHeartbeat(TIMEOUT);

      AgentProcess receiving = AgentProcess.receive(destination, destinationFlags.get());
      int port = receiving.awaitListening();
      AgentProcess sending =
          AgentProcess.migrate(source, port, "-v", "--max-bandwidth", "8M", "--tls-dir", source());
      sending.awaitLog("the guest is at the destination");
      beforeTheKill.run();
      if (killsSource) {
        sending.kill();
        sending = AgentProcess.resumeMigrating(source, port, "--tls-dir", source());
      } else {
        receiving.kill();
        receiving = AgentProcess.resumeReceiving(destination, port, destinationFlags.get());
      }
      try (Migration migration = new Migration(sending, receiving)) {
        assertThat(List.of(sending.awaitExit(TIMEOUT), receiving.awaitExit(TIMEOUT)))
            .as(migration.toString())
            .containsExactly(0, 0);
      }
      Migration.requireLetGo(source, destination);
      requireGoesOn(destination, before);
    }
  }

  /** A source agent that is told why not, and a guest and a destination that do not care. */
  private static void requireSentAway(
      QemuProcess source, int port, String[] flags, String... words) {
    try (AgentProcess agent = AgentProcess.migrate(source, port, flags)) {
      assertThat(agent.awaitExit(TIMEOUT)).as(agent.toString()).isEqualTo(2);
      assertThat(agent.messages()).as(agent.toString()).hasSize(1);
      assertThat(agent.messages().getFirst()).startsWith("refused: ").contains(words);
      assertThat(AgentProcess.journals(source)).isEmpty();
    }
  }

  @Test
  void whoeverIsNotAllowedIsSentAwayAndTheNextIsServed() throws IOException {
    Path strangers = folder.resolve("strangers");
    String stranger =
        TestAuthority.create(strangers).issue("source", "DNS:source.example").toString();
    try (QemuProcess source =
            QemuProcess.builder("source")
                .memoryMib(64)
                .bootSector(RANGE_END_MIB)
                .resting()
                .start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      BootSectorGuest.on(source, RANGE_END_MIB).awaitRounds(1, TIMEOUT);
      Path allow = allow("another.example *");
      AgentProcess receiving =
          AgentProcess.receive(
              destination, "--tls-dir", destination(), "--allow", allow.toString());
      int port = receiving.awaitListening();

      requireSentAway(source, port, new String[] {}, "speaks TLS only", "--tls-dir");
      requireSentAway(
          source, port, new String[] {"--tls-dir", stranger}, "not trusted here", "ca.pem");
      Files.copy(
          folder.resolve("ca/ca.pem"),
          Path.of(stranger).resolve("ca.pem"),
          StandardCopyOption.REPLACE_EXISTING);
      requireSentAway(
          source, port, new String[] {"--tls-dir", stranger}, "does not take our certificate");
      requireSentAway(
          source,
          port,
          new String[] {"--tls-dir", source(), "--tls-name", "dest.example"},
          "not for that name",
          "--tls-name");
      requireSentAway(
          source,
          port,
          new String[] {"--tls-dir", source()},
          "source.example may not send VM",
          allow.toString());
      assertThat(source.qmp().status()).isEqualTo("running");

      allow("source.example *");
      try (Migration migration =
          new Migration(AgentProcess.migrate(source, port, "--tls-dir", source()), receiving)) {
        migration.requireCompleted();
      }
      BootSectorGuest.on(destination, RANGE_END_MIB).awaitRounds(1, TIMEOUT);
    }
  }

  @Test
  void neitherAgentUsesANetworkWithoutTlsUnlessTold() {
    try (QemuProcess source =
            QemuProcess.builder("source")
                .memoryMib(64)
                .bootSector(RANGE_END_MIB)
                .resting()
                .start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      try (AgentProcess agent =
              AgentProcess.start(
                  List.of(),
                  "dest-agent",
                  "receive",
                  "--qmp",
                  destination.agentQmp().toString(),
                  "--listen",
                  "0.0.0.0:0");
          AgentProcess other =
              AgentProcess.start(
                  List.of(),
                  "source-agent",
                  "migrate",
                  "--qmp",
                  source.agentQmp().toString(),
                  "--to",
                  "192.0.2.1:7000",
                  "--state-dir",
                  folder.resolve("state").toString())) {
        for (AgentProcess refused : List.of(agent, other)) {
          assertThat(refused.awaitExit(TIMEOUT)).as(refused.toString()).isEqualTo(2);
          assertThat(refused.messages().getFirst())
              .contains("no certificates", "--tls-dir", "--insecure");
        }
      }
      assertThat(source.qmp().status()).isEqualTo("running");
    }
  }
}
