package dev.postcopy.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Proves the harness itself, with QEMU's own migration and none of the agents. */
final class QemuHarnessIT {

  private static final Duration TIMEOUT = Duration.ofSeconds(30);

  static Stream<String> qemuVersions() {
    return TestEnvironment.qemuVersions();
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void guestKeepsItsMemoryOverQemusOwnMigration(String version) {
    try (QemuProcess source =
            QemuProcess.builder("source")
                .version(version)
                .memoryMib(160)
                .kernelParameters("pc.mem_mib=48 pc.hot_mib=4 pc.zero_mib=8 pc.think_us=200")
                .start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      LinuxGuest guest = LinuxGuest.on(source);
      assertThat(guest.awaitReady()).isEqualTo(48 * 256);
      LinuxGuest.Heartbeat early = guest.awaitHeartbeat(TIMEOUT);
      LinuxGuest.Heartbeat later = guest.awaitHeartbeat(TIMEOUT);
      assertThat(later.ops()).isGreaterThan(early.ops());

      migrate(source, destination);

      LinuxGuest moved = LinuxGuest.on(destination);
      LinuxGuest.Heartbeat after = moved.awaitHeartbeat(TIMEOUT);
      assertThat(after.sequence()).isGreaterThan(later.sequence());
      LinuxGuest.Verification verification = moved.verify();
      assertThat(verification.ok()).as(verification.text()).isTrue();
      assertThat(verification.pages()).isEqualTo(48 * 256);
      assertThat(verification.zeroPages()).isEqualTo(8 * 256);
      assertThat(moved.accessTimes().count()).isPositive();
      assertThat(QmpProbe.downtime(source.qmp(), destination.qmp())).isPositive();
    }
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void guestWithVirtioDevicesRunsInASandboxWithoutPrivileges(String version) {
    try (QemuProcess source =
            QemuProcess.builder("source")
                .version(version)
                .machine("q35")
                .cpus(2)
                .numaNodes(2)
                .memoryMib(192)
                .kernelParameters("pc.mem_mib=32 pc.hot_mib=4 pc.threads=2 pc.think_us=200")
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
      LinuxGuest guest = LinuxGuest.on(source);
      guest.awaitReady();
      assertThat(source.ramFiles()).hasSize(2);
      LinuxGuest.Heartbeat early = guest.awaitHeartbeat(TIMEOUT);
      QmpProbe.sleep(Duration.ofMillis(500));
      assertThat(guest.awaitHeartbeat(TIMEOUT).diskOps()).isGreaterThan(early.diskOps());

      migrate(source, destination);

      LinuxGuest moved = LinuxGuest.on(destination);
      LinuxGuest.Heartbeat after = moved.awaitHeartbeat(TIMEOUT);
      QmpProbe.sleep(Duration.ofMillis(500));
      assertThat(moved.awaitHeartbeat(TIMEOUT).diskOps()).isGreaterThan(after.diskOps());
      LinuxGuest.Verification verification = moved.verify();
      assertThat(verification.ok()).as(verification.text()).isTrue();
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
      migrate(source, destination);
      BootSectorGuest moved = BootSectorGuest.on(destination, 32);
      moved.awaitRounds(3, TIMEOUT);
      destination.qmp().execute("stop");
      moved.requireOneStep();
    }
  }

  @Test
  void guestMovesToANewerQemu() {
    try (QemuProcess source =
            QemuProcess.builder("source")
                .machine("pc-i440fx-7.2")
                .memoryMib(160)
                .kernelParameters("pc.mem_mib=16 pc.hot_mib=4")
                .start();
        QemuProcess destination = source.incomingTwin("destination").version("10.0").start()) {
      LinuxGuest.on(source).awaitReady();
      migrate(source, destination);
      LinuxGuest.Verification verification = LinuxGuest.on(destination).verify();
      assertThat(verification.ok()).as(verification.text()).isTrue();
    }
  }

  @Test
  void guestNoticesASingleWrongBit() throws IOException {
    try (QemuProcess source =
        QemuProcess.builder("source")
            .memoryMib(160)
            .kernelParameters("pc.mem_mib=16 pc.hot_mib=4 pc.cold_share=0")
            .start()) {
      LinuxGuest guest = LinuxGuest.on(source);
      guest.awaitReady();
      assertThat(guest.verify().ok()).isTrue();
      int page = 3000;
      flipLastBitOfPage(source.ramFiles().getFirst(), page);
      LinuxGuest.Verification verification = guest.verify();
      assertThat(verification.ok()).isFalse();
      assertThat(verification.errors()).isEqualTo(1);
      assertThat(guest.corruptions()).singleElement().asString().contains("page=" + page + " ");
    }
  }

  /** A page that was never visited is at version 1: its first two words are its number and 1. */
  private static void flipLastBitOfPage(Path ramFile, long page) throws IOException {
    ByteBuffer content = ByteBuffer.allocate(4096).order(ByteOrder.LITTLE_ENDIAN);
    try (FileChannel ram =
        FileChannel.open(ramFile, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      for (long at = 0; at < ram.size(); at += 4096) {
        ram.read(content.clear(), at);
        if (content.getLong(0) == page && content.getLong(8) == 1) {
          ByteBuffer last = ByteBuffer.allocate(1).put(0, (byte) (content.get(4095) ^ 1));
          ram.write(last, at + 4095);
          return;
        }
      }
    }
    throw new AssertionError("page " + page + " is not in " + ramFile);
  }

  @Test
  void ramFilesOfAStoppedGuestAreComparedWithoutPopulatingHoles() {
    try (QemuProcess source =
            QemuProcess.builder("source")
                .memoryMib(160)
                .kernelParameters("pc.mem_mib=16 pc.hot_mib=4")
                .start();
        QemuProcess destination = source.incomingTwin("destination").start()) {
      LinuxGuest.on(source).awaitReady();
      migrate(source, destination, false);
      Path left = source.ramFiles().getFirst();
      Path right = destination.ramFiles().getFirst();
      long allocated = RamFiles.allocatedBytes(left);
      assertThat(RamFiles.firstDifference(left, right)).isEqualTo(-1);
      assertThat(RamFiles.allocatedBytes(left)).isEqualTo(allocated);
      destination.qmp().execute("cont");
      QmpProbe.sleep(Duration.ofMillis(300));
      destination.qmp().execute("stop");
      assertThat(RamFiles.firstDifference(left, right)).isNotNegative();
    }
  }

  private static void migrate(QemuProcess source, QemuProcess destination) {
    migrate(source, destination, true);
  }

  private static void migrate(QemuProcess source, QemuProcess destination, boolean resume) {
    String uri = "unix:" + destination.folder().resolve("migration.sock");
    if (!resume) {
      source.qmp().execute("stop");
    }
    destination.qmp().execute("migrate-incoming", "uri", uri);
    // The default bandwidth suits slow networks, and a guest that writes all the time would never
    // converge.
    source
        .qmp()
        .execute("migrate-set-parameters", "max-bandwidth", 4L << 30, "downtime-limit", 2000);
    source.qmp().execute("migrate", "uri", uri);
    source.qmp().awaitMigrated(TIMEOUT);
    destination.qmp().awaitStatus(resume ? "running" : "paused", TIMEOUT);
  }
}
