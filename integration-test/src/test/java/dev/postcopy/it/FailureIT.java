package dev.postcopy.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.Comparator;
import java.util.List;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What becomes of the guest when something ends in the middle: before COMMIT it runs on at the
 * source, after COMMIT it is the destination's, and at no time does it see a page that is not its
 * own.
 */
final class FailureIT {

  private static final Duration TIMEOUT = Duration.ofSeconds(30);
  private static final Duration ROLL_BACK = Duration.ofSeconds(2);

  /** Where the guest is now: it survives one failed migration after the other. */
  @SuppressWarnings("NullAway.Init") // set before the first test
  private static QemuProcess source;

  private static QemuProcess boot() {
    return QemuProcess.builder("source")
        .memoryMib(160)
        .kernelParameters("pc.mem_mib=32 pc.hot_mib=8 pc.think_us=100")
        .device("virtio-rng-pci")
        .start();
  }

  @BeforeAll
  static void startGuest() {
    source = boot();
    LinuxGuest.on(source).awaitReady();
  }

  @AfterAll
  static void stopGuest() {
    source.close();
  }

  /** A migration that is held at a frame, on its way from {@link #source}. */
  private record Held(
      QemuProcess destination, AgentProcess agent, FrameProxy proxy, Migration migration)
      implements AutoCloseable {

    static Held at(FrameProxy.Type type) {
      QemuProcess destination = source.incomingTwin("destination").start();
      AgentProcess agent = AgentProcess.receive(destination);
      FrameProxy proxy = FrameProxy.to(agent.awaitListening()).holdAt(type);
      Migration migration = Migration.start(source, proxy, agent);
      Held held = new Held(destination, agent, proxy, migration);
      proxy.awaitHeld(migration);
      return held;
    }

    @Override
    public void close() {
      migration.close();
      proxy.close();
      destination.close();
    }
  }

  /** The guest is back where it was, soon, and whole; nobody has said anything else. */
  private static void requireRollsBack(Migration migration, long failedNs) {
    source.qmp().awaitStatus("running", ROLL_BACK);
    assertThat(Duration.ofNanos(System.nanoTime() - failedNs)).isLessThan(ROLL_BACK);
    assertThat(migration.source().awaitExit(TIMEOUT)).as(migration.toString()).isEqualTo(1);
    assertThat(migration.source().messages()).as(migration.toString()).hasSize(1);
    assertThat(migration.source().report().path("status").asString()).isEqualTo("failed");
    Migration.requireContract(migration.source().report());
    requireWorks(source);
  }

  private static void requireWorks(QemuProcess qemu) {
    LinuxGuest guest = LinuxGuest.on(qemu);
    LinuxGuest.Heartbeat before = guest.awaitHeartbeat(TIMEOUT);
    assertThat(guest.awaitHeartbeat(TIMEOUT).ops()).isGreaterThan(before.ops());
    LinuxGuest.Verification verification = guest.verify();
    assertThat(verification.ok()).as(verification.text()).isTrue();
  }

  private static long stops(QemuProcess qemu) {
    return qemu.qmp().events().stream().filter(event -> event.name().equals("STOP")).count();
  }

  @Test
  void destinationAgentKilledBeforeTheSwitchOver() {
    long stops = stops(source);
    try (Held held = Held.at(FrameProxy.Type.READY)) {
      held.agent().kill();
      requireSourceFails(held);
      assertThat(stops(source)).as("the guest was never stopped").isEqualTo(stops);
    }
  }

  /** Cuts last: what is held is lost with the connection, as in a broken network. */
  private static void requireSourceFails(Held held) {
    long failedNs = System.nanoTime();
    held.proxy().cut();
    requireRollsBack(held.migration(), failedNs);
  }

  @Test
  void destinationAgentKilledWhileTheDeviceStateIsLoaded() {
    try (Held held = Held.at(FrameProxy.Type.DEVICE_STATE)) {
      held.agent().kill();
      requireSourceFails(held);
    }
  }

  @Test
  void destinationAgentKilledWhenAllIsLoadedAndTheGuestMovesTheNextTime() {
    try (Held held = Held.at(FrameProxy.Type.LOADED)) {
      assertThat(source.qmp().status()).isNotEqualTo("running");
      held.agent().kill();
      requireSourceFails(held);
      assertThat(held.destination().qmp().status()).isNotEqualTo("running");
    }
    QemuProcess next = source.incomingTwin("next").start();
    Migration.complete(source, next);
    source.close();
    source = next;
    requireWorks(source);
  }

  @Test
  void destinationQemuKilledWhileTheDeviceStateIsLoaded() {
    try (Held held = Held.at(FrameProxy.Type.DEVICE_STATE)) {
      long failedNs = System.nanoTime();
      held.destination().kill();
      requireRollsBack(held.migration(), failedNs);
      assertThat(held.agent().awaitExit(TIMEOUT)).as(held.agent().toString()).isEqualTo(1);
      assertThat(held.agent().report().path("status").asString()).isEqualTo("failed");
    }
  }

  /** The destination cannot know whether the source has committed, and says so. */
  @Test
  void destinationQemuKilledWhenAllIsLoaded() {
    try (Held held = Held.at(FrameProxy.Type.LOADED)) {
      held.destination().kill();
      requireSourceFails(held);
      assertThat(held.agent().awaitExit(TIMEOUT)).as(held.agent().toString()).isEqualTo(3);
      assertThat(held.agent().report().path("status").asString()).isEqualTo("incomplete");
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"another machine", "a device less"})
  void qemusThatWereStartedDifferently(String difference) {
    UnaryOperator<QemuProcess.Builder> start =
        difference.equals("another machine")
            ? twin -> twin.machine("q35")
            : QemuProcess.Builder::withoutDevices;
    try (QemuProcess destination = start.apply(source.incomingTwin("destination")).start();
        Migration migration = Migration.start(source, destination)) {
      int destinationExit = migration.destination().awaitExit(TIMEOUT);
      requireRollsBack(migration, System.nanoTime());
      assertThat(destinationExit).as(migration.toString()).isEqualTo(1);
      assertThat(migration.source().messages().getFirst()).contains("started alike");
      assertThat(migration.destination().messages().getFirst()).contains("started alike");
    }
  }

  /** Nothing is missing any more then: the last word of the source changes nothing. */
  @Test
  void sourceAgentKilledWhenEverythingHasArrived() {
    QemuProcess before = source;
    try (Held held = Held.at(FrameProxy.Type.COMPLETE)) {
      held.migration().source().kill();
      held.proxy().cut();
      assertThat(held.agent().awaitExit(TIMEOUT)).as(held.agent().toString()).isEqualTo(0);
      Migration.requireLetGo(before, held.destination());
      requireWorks(held.destination());
      // The next test needs its guest: move it on.
      QemuProcess next = source.incomingTwin("next").start();
      Migration.complete(held.destination(), next);
      source = next;
    } finally {
      before.close();
    }
  }

  enum Break {
    SOURCE_AGENT_KILLED,
    CONNECTIONS_CUT,
    PAGE_DAMAGED
  }

  /** The guest waits for what it does not have; it never reads zeros, and nothing wrong. */
  @ParameterizedTest
  @EnumSource
  void brokenDrainLeavesTheGuestToTheDestination(Break how) {
    int pushed = 500;
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      LinuxGuest.on(from).awaitReady();
      AgentProcess agent = AgentProcess.receive(to);
      try (FrameProxy proxy = FrameProxy.to(agent.awaitListening());
          Migration migration = Migration.start(from, midDrain(proxy, how, pushed), agent)) {
        if (how != Break.PAGE_DAMAGED) {
          proxy.awaitHeld(migration);
          LinuxGuest.on(to).awaitHeartbeat(TIMEOUT);
        }
        switch (how) {
          case SOURCE_AGENT_KILLED -> {
            migration.source().kill();
            proxy.cut();
          }
          case CONNECTIONS_CUT -> proxy.cut();
          case PAGE_DAMAGED -> {}
        }
        assertThat(agent.awaitExit(TIMEOUT)).as(migration.toString()).isEqualTo(3);
        requireIncomplete(agent);
        if (how != Break.SOURCE_AGENT_KILLED) {
          assertThat(migration.source().awaitExit(TIMEOUT)).as(migration.toString()).isEqualTo(3);
          requireIncomplete(migration.source());
        }
      }
      assertThat(from.qmp().status()).isIn("postmigrate", "paused");
      // QEMU's own copy of the descriptor: while it is open a missing page is waited for.
      assertThat(Migration.userfaultfds(to)).containsExactly("anon_inode:[userfaultfd]");
      QmpProbe.sleep(Duration.ofSeconds(2));
      assertThat(LinuxGuest.on(to).corruptions()).isEmpty();
      assertThat(
              LinuxGuest.on(to).heartbeats().stream()
                  .max(Comparator.comparingLong(LinuxGuest.Heartbeat::sequence))
                  .map(LinuxGuest.Heartbeat::errors)
                  .orElse(0L))
          .isZero();
    }
  }

  private static FrameProxy midDrain(FrameProxy proxy, Break how, int pushed) {
    return how == Break.PAGE_DAMAGED
        ? proxy.damage(
            frame -> frame.bulk() && frame.is(FrameProxy.Type.PAGES) && frame.index() == pushed)
        : proxy.holdAt(
            frame -> frame.bulk() && frame.is(FrameProxy.Type.PAGES) && frame.index() == pushed);
  }

  private static void requireIncomplete(AgentProcess agent) {
    assertThat(agent.report().path("status").asString()).isEqualTo("incomplete");
    assertThat(agent.messages()).as(agent.toString()).hasSize(1);
    Migration.requireContract(agent.report());
    assertThat(List.of("demand", "pushed"))
        .allSatisfy(
            kind -> assertThat(agent.report().at("/pages/" + kind).asLong()).isNotNegative());
  }
}
