package dev.postcopy.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Guests that move while they work, from one real QEMU to another, and notice nothing. */
final class MigrationIT {

  private static final Duration TIMEOUT = Duration.ofSeconds(60);
  private static final Duration LONGEST_DOWNTIME = Duration.ofSeconds(2);

  static Stream<String> qemuVersions() {
    return TestEnvironment.qemuVersions();
  }

  /** A Linux guest that works on 64 MiB, and has memory that it never touches. */
  private static QemuProcess.Builder linux(String version) {
    return QemuProcess.builder("source")
        .version(version)
        .memoryMib(224)
        .kernelParameters("pc.mem_mib=64 pc.hot_mib=16 pc.zero_mib=8 pc.think_us=100");
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void guestGoesOnAtTheDestinationWithAllItsMemory(String version) {
    try (QemuProcess source = linux(version).start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      LinuxGuest guest = LinuxGuest.on(source);
      guest.awaitReady();
      LinuxGuest.Heartbeat before = guest.awaitHeartbeat(TIMEOUT);

      try (Migration migration = Migration.start(source, destination)) {
        migration.requireCompleted();
        assertThat(Migration.pages(migration.source().report())).isEqualTo(224 * 256);
        assertThat(migration.destination().report().path("faults").asLong()).isPositive();
        assertThat(migration.destination().report().at("/fault_latency_us/max").asLong())
            .isPositive();
      }

      Migration.requireLetGo(source, destination);
      requireGoesOn(LinuxGuest.on(destination), before);
      assertThat(QmpProbe.downtime(source.qmp(), destination.qmp()))
          .isPositive()
          .isLessThan(LONGEST_DOWNTIME);
    }
  }

  /** It lives, it remembers, and not one word of its memory is wrong. */
  private static void requireGoesOn(LinuxGuest moved, LinuxGuest.Heartbeat before) {
    LinuxGuest.Heartbeat after = moved.awaitHeartbeat(TIMEOUT);
    assertThat(after.sequence()).isGreaterThan(before.sequence());
    // A guest that was stopped as soon as it had begun may have done nothing yet.
    assertThat(after.ops()).isGreaterThanOrEqualTo(before.ops());
    moved.awaitWork(after, TIMEOUT);
    LinuxGuest.Verification verification = moved.verify();
    assertThat(verification.ok()).as(verification.text()).isTrue();
    assertThat(moved.corruptions()).isEmpty();
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void unprivilegedSandboxedMachineWithVirtioDevicesAndTwoNumaNodes(String version)
      throws IOException {
    try (QemuProcess source =
            linux(version)
                .machine("q35")
                .cpus(2)
                .numaNodes(2)
                .kernelParameters("pc.mem_mib=48 pc.hot_mib=16 pc.threads=2 pc.think_us=100")
                .disk()
                .device("virtio-rng-pci")
                .device("virtio-balloon-pci")
                .device("virtio-serial-pci")
                .arguments("-chardev", "null,id=hvc", "-device", "virtconsole,chardev=hvc")
                .arguments(
                    "-netdev", "user,id=net0,restrict=on", "-device", "virtio-net-pci,netdev=net0")
                .unprivileged()
                .sandbox(QemuProcess.STRICT_SANDBOX)
                .start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      requireThatOnlyTheDeviceGivesAUserfaultfd(destination);
      LinuxGuest guest = LinuxGuest.on(source);
      guest.awaitReady();
      LinuxGuest.Heartbeat before = guest.awaitHeartbeat(TIMEOUT);
      assertThat(source.ramFiles()).hasSize(2);

      Migration.complete(source, destination);

      LinuxGuest moved = LinuxGuest.on(destination);
      requireGoesOn(moved, before);
      LinuxGuest.Heartbeat after = moved.awaitHeartbeat(TIMEOUT);
      QmpProbe.sleep(Duration.ofMillis(500));
      assertThat(moved.awaitHeartbeat(TIMEOUT).diskOps()).isGreaterThan(after.diskOps());
    }
  }

  /** userfaultfd(2) is refused to a process without capabilities; the other way must do it. */
  private static void requireThatOnlyTheDeviceGivesAUserfaultfd(QemuProcess qemu)
      throws IOException {
    assertThat(Files.readAllLines(Path.of("/proc", Long.toString(qemu.pid()), "status")))
        .contains("CapEff:\t0000000000000000");
    Path sysctl = Path.of("/proc/sys/vm/unprivileged_userfaultfd");
    if (!Files.readString(sysctl).strip().equals("0")) {
      Requirement.impossible("a refused userfaultfd(2): " + sysctl + " allows it");
    }
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void pausedGuestStaysPausedAndItsMemoryIsTheSameByteByByte(String version) {
    try (QemuProcess source = linux(version).numaNodes(2).start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      LinuxGuest guest = LinuxGuest.on(source);
      guest.awaitReady();
      LinuxGuest.Heartbeat before = guest.awaitHeartbeat(TIMEOUT);
      source.qmp().execute("stop");

      Migration.complete(source, destination);

      for (int block = 0; block < 2; block++) {
        Path left = source.ramFiles().get(block);
        Path right = destination.ramFiles().get(block);
        assertThat(RamFiles.firstDifference(left, right)).as("block %d", block).isEqualTo(-1);
        assertThat(RamFiles.allocatedBytes(right))
            .as("holes and zeros of block %d stay holes", block)
            .isLessThanOrEqualTo(RamFiles.allocatedBytes(left));
      }
      destination.qmp().execute("cont");
      requireGoesOn(LinuxGuest.on(destination), before);
    }
  }

  /** Behind the first look at it: the agents take seconds to get ready. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void guestThatIsPausedOrSetGoingBeforeItsMigrationBeginsArrivesSo(boolean isPaused) {
    try (QemuProcess source = linux("10.0").start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      LinuxGuest guest = LinuxGuest.on(source);
      guest.awaitReady();
      LinuxGuest.Heartbeat before = guest.awaitHeartbeat(TIMEOUT);
      if (!isPaused) {
        source.qmp().execute("stop");
      }
      AgentProcess receiving = AgentProcess.receive(destination);
      try (FrameProxy proxy =
              FrameProxy.to(receiving.awaitListening()).holdAt(FrameProxy.Type.READY);
          Migration migration = Migration.start(source, proxy, receiving, "--precopy", "off")) {
        proxy.awaitHeld(migration);
        source.qmp().execute(isPaused ? "stop" : "cont");
        proxy.release();
        migration.requireCompleted();
      }
      assertThat(destination.qmp().status()).isEqualTo(isPaused ? "paused" : "running");
      if (isPaused) {
        destination.qmp().execute("cont");
      }
      requireGoesOn(LinuxGuest.on(destination), before);
    }
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void bootSectorUnderKvmIsAtOneRoundOrTwo(String version) {
    TestEnvironment.get().requireKvm();
    try (QemuProcess source =
            QemuProcess.builder("source")
                .version(version)
                .accelerator(QemuProcess.Accelerator.KVM)
                .memoryMib(64)
                .bootSector(32)
                .start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      BootSectorGuest.on(source, 32).awaitRounds(3, TIMEOUT);

      Migration.complete(source, destination);

      BootSectorGuest moved = BootSectorGuest.on(destination, 32);
      moved.awaitRounds(3, TIMEOUT);
      destination.qmp().execute("stop");
      moved.requireOneStep();
      assertThat(QmpProbe.downtime(source.qmp(), destination.qmp()))
          .isPositive()
          .isLessThan(LONGEST_DOWNTIME);
    }
  }

  @Test
  void memoryInAMemfdMoves() {
    try (QemuProcess source =
        linux("installed").machine("q35").ram(QemuProcess.Ram.MEMFD).start()) {
      if (source.isAtLeast(8, 1)) {
        Requirement.impossible("memfd: from QEMU 8.1 on it is refused");
      }
      try (QemuProcess destination = source.incomingTwin("destination").start()) {
        LinuxGuest guest = LinuxGuest.on(source);
        guest.awaitReady();
        LinuxGuest.Heartbeat before = guest.awaitHeartbeat(TIMEOUT);
        Migration.complete(source, destination);
        requireGoesOn(LinuxGuest.on(destination), before);
      }
    }
  }

  @Test
  void guestMovesToANewerQemu() {
    try (QemuProcess source = linux("installed").machine("pc-i440fx-7.2").numaNodes(2).start();
        QemuProcess destination = source.incomingTwin("destination").version("10.0").start()) {
      LinuxGuest guest = LinuxGuest.on(source);
      guest.awaitReady();
      LinuxGuest.Heartbeat before = guest.awaitHeartbeat(TIMEOUT);
      Migration.complete(source, destination);
      requireGoesOn(LinuxGuest.on(destination), before);
    }
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void guestMovesOnAndOn(String version) {
    try (QemuProcess a = linux(version).start();
        QemuProcess b = a.incomingTwin("b").start();
        QemuProcess c = b.incomingTwin("c").start();
        QemuProcess d = c.incomingTwin("d").start()) {
      LinuxGuest guest = LinuxGuest.on(a);
      guest.awaitReady();
      LinuxGuest.Heartbeat before = guest.awaitHeartbeat(TIMEOUT);
      Migration.complete(a, b);
      // What a destination was once must not matter to it as a source, nor that the first source
      // is gone.
      a.kill();
      Migration.complete(b, c);
      Migration.complete(c, d);
      requireGoesOn(LinuxGuest.on(d), before);
    }
  }

  /**
   * With those of this migration QEMU's own next one would leave the RAM out, and a guest would
   * read zeros.
   */
  @ParameterizedTest
  @MethodSource("qemuVersions")
  void destinationMigratesAsItsOperatorHasSetItBefore(String version) {
    try (QemuProcess source = linux(version).start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      LinuxGuest guest = LinuxGuest.on(source);
      guest.awaitReady();
      LinuxGuest.Heartbeat before = guest.awaitHeartbeat(TIMEOUT);
      destination.qmp().setCapabilities("auto-converge");
      destination.qmp().execute("migrate-set-parameters", "max-bandwidth", 5 << 20);
      destination
          .qmp()
          .execute("qom-set", "path", "/machine", "property", "suppress-vmdesc", "value", true);
      QmpProbe.MigrationSettings set = destination.qmp().migrationSettings();

      try (Migration migration = Migration.start(source, destination)) {
        migration.requireCompleted();
      }

      assertThat(destination.qmp().migrationSettings()).isEqualTo(set);
      requireGoesOn(LinuxGuest.on(destination), before);
    }
  }

  /** QEMU compares both rings of every queue with the state that it loads, one after the other. */
  @ParameterizedTest
  @MethodSource("qemuVersions")
  void loadingWaitsForFewPagesOfAGuestWithManyVirtioQueues(String version) {
    try (QemuProcess source =
            linux(version)
                .disk()
                .device("virtio-serial-pci")
                .arguments("-chardev", "null,id=hvc", "-device", "virtconsole,chardev=hvc")
                .start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      LinuxGuest guest = LinuxGuest.on(source);
      guest.awaitReady();
      LinuxGuest.Heartbeat before = guest.awaitHeartbeat(TIMEOUT);
      AtomicInteger requests = new AtomicInteger();
      AgentProcess agent = AgentProcess.receive(destination);
      try (FrameProxy proxy =
              FrameProxy.to(agent.awaitListening())
                  .holdAt(
                      frame -> {
                        if (frame.is(FrameProxy.Type.REQUEST)) {
                          requests.incrementAndGet();
                        }
                        return frame.is(FrameProxy.Type.LOADED);
                      });
          Migration migration = Migration.start(source, proxy, agent)) {
        proxy.awaitHeld(migration);
        assertThat(requests).as("requests while 65 queues are loaded").hasValueLessThan(8);
        proxy.release();
        migration.requireCompleted();
      }
      requireGoesOn(LinuxGuest.on(destination), before);
    }
  }

  /** Pages that the balloon gives back are holes again, and fault again, although they arrived. */
  @ParameterizedTest
  @MethodSource("qemuVersions")
  void balloonMayTakePagesWhileOthersAreOnTheirWay(String version) {
    try (QemuProcess source = linux(version).device("virtio-balloon-pci").start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      LinuxGuest guest = LinuxGuest.on(source);
      guest.awaitReady();
      LinuxGuest.Heartbeat before = guest.awaitHeartbeat(TIMEOUT);
      AgentProcess agent = AgentProcess.receive(destination);
      try (FrameProxy proxy =
              FrameProxy.to(agent.awaitListening())
                  .holdAt(
                      frame ->
                          frame.bulk()
                              && frame.is(FrameProxy.Type.PAGES)
                              && frame.index() == 1000);
          Migration migration = Migration.start(source, proxy, agent, AgentProcess.PATIENT)) {
        proxy.awaitHeld(migration);
        LinuxGuest.on(destination).awaitHeartbeat(TIMEOUT);
        balloon(destination, 192);
        balloon(destination, 224);
        proxy.release();
        migration.requireCompleted();
      }
      Migration.requireLetGo(source, destination);
      requireGoesOn(LinuxGuest.on(destination), before);
    }
  }

  private static void balloon(QemuProcess qemu, long mib) {
    qemu.qmp().execute("balloon", "value", mib << 20);
    long deadline = System.nanoTime() + TIMEOUT.toNanos();
    while (qemu.qmp().execute("query-balloon").path("actual").asLong() != mib << 20) {
      if (System.nanoTime() > deadline) {
        throw new AssertionError(
            "the balloon stays at " + qemu.qmp().execute("query-balloon") + ", not " + mib);
      }
      QmpProbe.sleep(Duration.ofMillis(20));
    }
  }
}
