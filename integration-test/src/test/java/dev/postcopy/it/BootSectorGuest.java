package dev.postcopy.it;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;

/**
 * The guest of one sector (scripts/guest/boot-sector.S), which increments the first byte of each
 * page in turn.
 */
final class BootSectorGuest {

  /** Where the image says whether the guest rests after each round. */
  static final int RESTS_OFFSET = 492;

  /** Where the image has the end of the range of pages. */
  static final int RANGE_END_OFFSET = 500;

  private static final int PAGE_SIZE = 4096;
  private static final long RANGE_START = 1 << 20;
  private static final int WORK_END_MIB = 32;
  private static final Duration TIMEOUT = Duration.ofSeconds(60);

  private final QemuProcess qemu;
  private final long rangeEnd;

  private BootSectorGuest(QemuProcess qemu, int endMib) {
    this.qemu = qemu;
    this.rangeEnd = (long) endMib << 20;
  }

  static BootSectorGuest on(QemuProcess qemu, int endMib) {
    return new BootSectorGuest(qemu, endMib);
  }

  /** A QEMU in which the guest works, with rests, on memory up to 32 MiB. */
  static QemuProcess boot(String version, int memoryMib) {
    QemuProcess qemu =
        QemuProcess.builder("source")
            .version(version)
            .memoryMib(memoryMib)
            .bootSector(WORK_END_MIB)
            .resting()
            .start();
    on(qemu, WORK_END_MIB).awaitRounds(2, TIMEOUT);
    return qemu;
  }

  /** The guest that {@link #boot} began works there, and each of its pages is right. */
  static void requireWorks(QemuProcess qemu) {
    BootSectorGuest guest = on(qemu, WORK_END_MIB);
    guest.awaitRounds(2, TIMEOUT);
    qemu.qmp().execute("stop");
    guest.requireOneStep();
    qemu.qmp().execute("cont");
  }

  /** Waits until the guest has gone {@code rounds} more times over its pages. */
  void awaitRounds(int rounds, Duration timeout) {
    long from = qemu.serial().bytes();
    long deadline = System.nanoTime() + timeout.toNanos();
    while (qemu.serial().bytes() < from + rounds) {
      if (System.nanoTime() > deadline) {
        throw new AssertionError(
            "the guest went "
                + (qemu.serial().bytes() - from)
                + " of "
                + rounds
                + " rounds in "
                + timeout);
      }
      QmpProbe.sleep(Duration.ofMillis(5));
    }
  }

  /**
   * Checks that all pages are at the same round, but for one step at the page that the guest was at
   * when it stopped. The guest must be stopped, and its RAM must be all there. Reads the RAM file
   * and not QEMU's mapping, so that it populates nothing.
   *
   * @return the round that the first page is at, modulo 256
   */
  int requireOneStep() {
    Path file = qemu.ramFiles().getFirst();
    ByteBuffer one = ByteBuffer.allocate(1);
    int first = -1;
    int steps = 0;
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
      int previous = -1;
      for (long at = RANGE_START; at < rangeEnd; at += PAGE_SIZE) {
        if (channel.read(one.clear(), at) != 1) {
          throw new AssertionError(file + " ends at " + at);
        }
        int value = one.get(0) & 0xff;
        if (first < 0) {
          first = value;
        } else if (value != previous) {
          steps++;
          if (steps > 1 || value != ((previous - 1) & 0xff)) {
            throw new AssertionError(
                String.format(
                    "%s: page %d is at round %d after pages at %d; the first is at %d",
                    file, at / PAGE_SIZE, value, previous, first));
          }
        }
        previous = value;
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return first;
  }
}
