package dev.postcopy.it;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.qmp.Qemu;
import dev.postcopy.qmp.QmpClient;
import dev.postcopy.transport.EventLoops;
import io.netty.channel.IoEventLoopGroup;
import java.time.Duration;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What QEMU makes of a command that it has all of but the end. */
final class MonitorIT {

  private static final int MEMORY_MIB = 64;

  /** Far longer than QEMU takes for a command. */
  private static final Duration LONG_ENOUGH = Duration.ofMillis(300);

  private static final IoEventLoopGroup LOOP = EventLoops.named("monitor-it", 1);

  static Stream<String> qemuVersions() {
    return TestEnvironment.qemuVersions();
  }

  @AfterAll
  static void stopLoop() {
    EventLoops.shutDown(LOOP);
  }

  private static QemuProcess pausedGuest(String version) {
    return QemuProcess.builder("source")
        .version(version)
        .memoryMib(MEMORY_MIB)
        .bootSector(MEMORY_MIB / 2)
        .startPaused()
        .start();
  }

  private static void requirePausedForLong(QemuProcess qemu, String why) {
    QmpProbe.sleep(LONG_ENOUGH);
    assertThat(qemu.qmp().status()).as(why).isEqualTo("prelaunch");
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void aGuestDoesNotRunBeforeTheEndOfTheCommand(String version) {
    try (QemuProcess qemu = pausedGuest(version);
        QmpClient client = QmpClient.connect(LOOP, qemu.agentQmp())) {
      Qemu agents = new Qemu(client);
      QmpClient.Request running = agents.prepareRunning();
      agents.begin(running);
      requirePausedForLong(qemu, "the guest, of whose cont the last brace is missing");

      agents.send(running).join();
      assertThat(qemu.qmp().status()).as("the guest, behind the last brace").isEqualTo("running");
    }
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void anotherCommandTakesItsPlaceAndItMayComeLater(String version) {
    try (QemuProcess qemu = pausedGuest(version);
        QmpClient client = QmpClient.connect(LOOP, qemu.agentQmp())) {
      Qemu agents = new Qemu(client);
      QmpClient.Request running = agents.prepareRunning();
      agents.begin(running);
      assertThat(agents.runState()).as("what QEMU answers instead").isEqualTo("prelaunch");
      requirePausedForLong(qemu, "the guest, whose cont was taken back");

      agents.begin(agents.prepareRunning());
      agents.send(running).join();
      assertThat(qemu.qmp().status())
          .as("the guest, whose first cont came after all")
          .isEqualTo("running");
    }
  }

  /** An agent that is killed between the two parts. */
  @ParameterizedTest
  @MethodSource("qemuVersions")
  void whoGoesAwayInTheMiddleOfItHasSaidNothing(String version) {
    try (QemuProcess qemu = pausedGuest(version)) {
      try (QmpClient client = QmpClient.connect(LOOP, qemu.agentQmp())) {
        Qemu agents = new Qemu(client);
        agents.begin(agents.prepareRunning());
        QmpProbe.sleep(LONG_ENOUGH);
      }
      requirePausedForLong(qemu, "the guest, whose agent has gone");

      try (QmpClient next = QmpClient.connect(LOOP, qemu.agentQmp())) {
        assertThat(new Qemu(next).runState())
            .as("what the next agent is answered")
            .isEqualTo("prelaunch");
      }
    }
  }
}
