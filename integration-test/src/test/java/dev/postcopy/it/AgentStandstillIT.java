package dev.postcopy.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.List;
import java.util.function.Predicate;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.Parameter;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What becomes of the guest when an agent stands still, as on a host that is overloaded. */
@ParameterizedClass
@MethodSource("dev.postcopy.it.TestEnvironment#qemuVersions")
final class AgentStandstillIT {

  private static final Duration TIMEOUT = Duration.ofSeconds(60);

  /** Longer than every patience of both agents, but for that with a destination in doubt. */
  private static final Duration LONG_STANDSTILL = Duration.ofSeconds(60);

  private static final int MEMORY_MIB = 64;

  @Parameter private String version = "";

  @BeforeAll
  static void requireRoot() {
    TestEnvironment.get().requireRoot();
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void anAgentThatStandsStillForASecondInTheDrainGoesOnWhereItWas(boolean ofSource) {
    try (Standstill standstill = begin(ofSource, FrameProxy.Frame::isMidDrain)) {
      QmpProbe.sleep(Duration.ofSeconds(1));
      standstill.end();
      standstill.requireGuestAtDestination();
    }
  }

  /** An agent that is stopped at a moment of a migration of its own, and let go on later. */
  private record Standstill(
      QemuProcess from, QemuProcess to, FrameProxy proxy, Migration migration, boolean ofSource)
      implements AutoCloseable {

    private AgentProcess agent() {
      return ofSource ? migration.source() : migration.destination();
    }

    void end() {
      agent().thaw();
    }

    void requireGuestAtDestination() {
      migration.source().requireCompletes();
      migration.destination().requireCompletes();
      Migration.requireLetGo(from, to);
      BootSectorGuest.requireWorks(to);
    }

    void requireGuestAtSource() {
      migration.source().requireExit(1, "the guest is at the source as before");
      if (migration.source().messages().getFirst().contains("source-agent resume tells it")) {
        try (AgentProcess teller = AgentProcess.resumeMigrating(from, proxy.port())) {
          teller.requireExit(1, "the guest is at the source as before");
        }
      }
      migration.destination().requireExit(1, "");
      to.awaitExit(TIMEOUT);
      BootSectorGuest.requireWorks(from);
    }

    @Override
    public void close() {
      migration.close();
      proxy.close();
      to.close();
      from.close();
    }
  }

  /** What was on its way arrives, if not at the one that stands still. */
  private Standstill begin(boolean ofSource, Predicate<FrameProxy.Frame> moment) {
    QemuProcess from = BootSectorGuest.boot(version, MEMORY_MIB);
    QemuProcess to = from.incomingTwin("destination").start();
    AgentProcess agent = AgentProcess.receive(to);
    FrameProxy proxy = FrameProxy.to(agent.awaitListening()).holdAt(moment);
    Migration migration = Migration.start(from, proxy, agent);
    Standstill begun = new Standstill(from, to, proxy, migration, ofSource);
    proxy.awaitHeld(migration);
    begun.agent().freeze();
    proxy.release();
    return begun;
  }

  /** All at the same time, each with a guest of its own. */
  @Test
  void anAgentThatStandsStillForAMinuteHasTheGuestWhereTheCommitSays() {
    try (Standstill sourceBefore = begin(true, frame -> frame.is(FrameProxy.Type.LOADED));
        // Not at the end of the device state: QEMU may have loaded it before it hears of that.
        Standstill destinationBefore =
            begin(false, frame -> frame.is(FrameProxy.Type.DEVICE_STATE));
        Standstill sourceAt = begin(true, frame -> frame.is(FrameProxy.Type.COMMIT));
        Standstill destinationAt = begin(false, frame -> frame.is(FrameProxy.Type.COMMIT));
        Standstill sourceBehind = begin(true, FrameProxy.Frame::isMidDrain);
        Standstill destinationBehind = begin(false, FrameProxy.Frame::isMidDrain)) {
      QmpProbe.sleep(LONG_STANDSTILL);
      assertThat(destinationBefore.from().qmp().status())
          .as("the guest, which has not waited for the destination")
          .isEqualTo("running");
      List<Standstill> committed =
          List.of(sourceAt, destinationAt, sourceBehind, destinationBehind);
      List.of(sourceBefore, destinationBefore).forEach(Standstill::end);
      committed.forEach(Standstill::end);

      sourceBefore.requireGuestAtSource();
      destinationBefore.requireGuestAtSource();
      committed.forEach(Standstill::requireGuestAtDestination);
    }
  }
}
