package dev.postcopy.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Guests whose memory goes ahead of them while they write to it. */
final class PrecopyIT {

  private static final Duration TIMEOUT = Duration.ofSeconds(60);

  /** Switches of one guest in one test; scripts/switches makes hundreds. */
  private static final int SWITCHES = Integer.getInteger("precopy.switches", 5);

  private static final long SEED = Long.getLong("precopy.seed", 20261123);

  static Stream<String> qemuVersions() {
    return TestEnvironment.qemuVersions();
  }

  private static QemuProcess.Builder linux(String version, String thinking) {
    return QemuProcess.builder("source")
        .version(version)
        .memoryMib(224)
        .kernelParameters("pc.mem_mib=64 pc.hot_mib=16 pc.zero_mib=8 " + thinking);
  }

  private static AgentProcess migrate(QemuProcess from, AgentProcess to, String... options) {
    String[] all = Stream.concat(Stream.of("-v"), Stream.of(options)).toArray(String[]::new);
    return AgentProcess.migrate(from, to.awaitListening(), all);
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void busyGuestGoesOnAtTheDestinationAndMostOfItWasThereBefore(String version) {
    try (QemuProcess source =
            linux(version, "pc.think_us=100").cpus(2).device("virtio-balloon-pci").disk().start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      LinuxGuest guest = LinuxGuest.on(source);
      guest.awaitReady();
      LinuxGuest.Heartbeat before = guest.awaitHeartbeat(TIMEOUT);
      AgentProcess receiving = AgentProcess.receive(destination);

      try (Migration migration =
          new Migration(migrate(source, receiving, "--precopy", "auto"), receiving)) {
        migration.requireCompleted();
        assertThat(roundsOf(migration.source())).isPositive();
        long arrivedLater = migration.source().report().at("/pages/demand").asLong();
        assertThat(arrivedLater).as("pages that the guest had to wait for").isLessThan(8000);
      }

      Migration.requireLetGo(source, destination);
      LinuxGuest moved = LinuxGuest.on(destination);
      LinuxGuest.Heartbeat after = moved.awaitHeartbeat(TIMEOUT);
      assertThat(after.sequence()).isGreaterThan(before.sequence());
      LinuxGuest.Verification verification = moved.verify();
      assertThat(verification.ok()).as(verification.text()).isTrue();
      assertThat(moved.corruptions()).isEmpty();
    }
  }

  private static long roundsOf(AgentProcess source) {
    return source.stderr().stream().filter(line -> line.matches(".* round \\d+: .*")).count();
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void cancelWhileMemoryGoesAheadLeavesTheGuestAsItWas(String version) {
    try (QemuProcess source = linux(version, "").start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      LinuxGuest guest = LinuxGuest.on(source);
      guest.awaitReady();
      AgentProcess receiving = AgentProcess.receive(destination);
      try (Migration migration =
          new Migration(
              migrate(source, receiving, "--precopy", "auto", "--max-bandwidth", "4M"),
              receiving)) {
        migration.source().awaitLog("memory goes ahead");
        assertThat(Migration.userfaultfds(source)).hasSize(1);

        AgentProcess cancel = AgentProcess.tell(source, "cancel");
        assertThat(cancel.awaitExit(TIMEOUT)).isZero();

        assertThat(migration.source().awaitExit(TIMEOUT)).as(migration.toString()).isEqualTo(1);
        assertThat(migration.destination().awaitExit(TIMEOUT)).isEqualTo(1);
      }
      assertThat(source.qmp().status()).isEqualTo("running");
      assertThat(Migration.userfaultfds(source)).isEmpty();
      assertThat(AgentProcess.journals(source)).isEmpty();
      assertThat(source.qmp().events()).extracting(QmpProbe.Event::name).doesNotContain("STOP");
      requireWorks(guest);
    }
  }

  private static void requireWorks(LinuxGuest guest) {
    LinuxGuest.Heartbeat now = guest.awaitHeartbeat(TIMEOUT);
    guest.awaitWork(now, TIMEOUT);
    LinuxGuest.Verification verification = guest.verify();
    assertThat(verification.ok()).as(verification.text()).isTrue();
  }

  /** Behind its last word there is no journal by which anybody could find what it left. */
  @Test
  void killedAtItsLastWordItLeavesNothingInQemu() {
    try (QemuProcess source = linux("installed", "").start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      LinuxGuest.on(source).awaitReady();
      AgentProcess receiving = AgentProcess.receive(destination);
      try (FrameProxy proxy = FrameProxy.to(receiving.awaitListening());
          Migration migration =
              new Migration(
                  AgentProcess.migrate(source, proxy.port(), "--precopy", "1"), receiving)) {
        proxy.holdAt(
            frame -> {
              boolean isLast = frame.is(FrameProxy.Type.CONFIRMED);
              if (isLast) {
                migration.source().kill();
              }
              return isLast;
            });
        proxy.awaitHeld(migration);
        assertThat(Migration.userfaultfds(source)).isEmpty();
        proxy.release();
        assertThat(receiving.awaitExit(TIMEOUT)).as(receiving.toString()).isZero();
      }
      requireWorks(LinuxGuest.on(destination));
    }
  }

  /** The write watch that a killed agent leaves in QEMU is in nobody's way. */
  @ParameterizedTest
  @MethodSource("qemuVersions")
  void killedWhileMemoryGoesAheadTheGuestRunsOnAndCanBeMigrated(String version) {
    try (QemuProcess source = linux(version, "").start();
        QemuProcess first = source.incomingTwin("first").start();
        QemuProcess second = source.incomingTwin("second").start()) {
      LinuxGuest guest = LinuxGuest.on(source);
      guest.awaitReady();
      AgentProcess receiving = AgentProcess.receive(first);
      int port = receiving.awaitListening();
      try (Migration migration =
          new Migration(
              migrate(source, receiving, "--precopy", "auto", "--max-bandwidth", "4M"),
              receiving)) {
        migration.source().awaitLog("memory goes ahead");
        migration.source().kill();
        assertThat(migration.destination().awaitExit(TIMEOUT)).isEqualTo(1);
      }
      requireWorks(guest);
      assertThat(Migration.userfaultfds(source)).hasSize(1);

      AgentProcess resumed = AgentProcess.resumeMigrating(source, port);
      assertThat(resumed.awaitExit(TIMEOUT)).as(resumed.toString()).isEqualTo(1);
      assertThat(Migration.userfaultfds(source)).isEmpty();
      assertThat(AgentProcess.journals(source)).isEmpty();

      AgentProcess again = AgentProcess.receive(second);
      try (Migration migration = new Migration(migrate(source, again, "--precopy", "2"), again)) {
        migration.requireCompleted();
      }
      Migration.requireLetGo(source, second);
      requireWorks(LinuxGuest.on(second));
    }
  }

  /**
   * A guest that writes to all of its memory as fast as it can goes over at any moment of the push,
   * and is not let run: then what was written has to be what arrived, byte for byte.
   */
  @ParameterizedTest
  @MethodSource("qemuVersions")
  void guestThatWritesAtFullSpeedIsByteIdenticalWhereverItIsSwitched(String version) {
    SplittableRandom random = new SplittableRandom(SEED);
    QemuProcess source = linux(version, "pc.threads=2").cpus(2).start();
    try {
      LinuxGuest.on(source).awaitReady();
      for (int i = 0; i < SWITCHES; i++) {
        int afterMillis = random.nextInt(1200);
        QemuProcess destination = source.incomingTwin("switch" + i).start();
        switchPaused(source, destination, afterMillis);
        source.close();
        source = destination;
        source.qmp().execute("cont");
        requireWorks(LinuxGuest.on(source));
      }
    } finally {
      source.close();
    }
  }

  private static void switchPaused(QemuProcess source, QemuProcess destination, int afterMillis) {
    AgentProcess receiving = AgentProcess.receive(destination);
    try (Migration migration =
        new Migration(
            migrate(
                source,
                receiving,
                "--precopy",
                "1000",
                "--switch-after",
                Integer.toString(afterMillis),
                "--leave-paused",
                "--max-bandwidth",
                "100M"),
            receiving)) {
      migration.requireCompleted();
    }
    assertThat(destination.qmp().status()).isEqualTo("paused");
    List<Path> left = source.ramFiles();
    List<Path> right = destination.ramFiles();
    for (int block = 0; block < left.size(); block++) {
      assertThat(RamFiles.firstDifference(left.get(block), right.get(block)))
          .as("first difference after a switch at %d ms", afterMillis)
          .isEqualTo(-1);
    }
  }
}
