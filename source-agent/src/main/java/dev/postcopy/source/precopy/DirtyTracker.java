package dev.postcopy.source.precopy;

import dev.postcopy.linux.HostRefusal;
import dev.postcopy.linux.InjectedUserfaultfd;
import dev.postcopy.linux.LinuxException;
import dev.postcopy.linux.OwnedFd;
import dev.postcopy.linux.Pagemap;
import dev.postcopy.linux.PidFd;
import dev.postcopy.linux.RemoteAddress;
import dev.postcopy.linux.RemoteRange;
import dev.postcopy.linux.WriteWatch;
import dev.postcopy.linux.abi.Errno;
import dev.postcopy.memory.PageBitmap;
import dev.postcopy.memory.RamLayout;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Finds the pages that QEMU, its guest included, writes to, by a userfaultfd of QEMU's own that
 * nobody has to answer. For the session's thread.
 */
public final class DirtyTracker implements AutoCloseable {

  private static final Logger log = LoggerFactory.getLogger(DirtyTracker.class);

  private final int pid;
  private final int numberInQemu;
  private final WriteWatch watch;
  private final Pagemap pagemap;
  private final RamLayout layout;
  private final List<RemoteRange> ranges;

  private DirtyTracker(
      int pid,
      int numberInQemu,
      WriteWatch watch,
      Pagemap pagemap,
      RamLayout layout,
      List<RemoteRange> ranges) {
    this.pid = pid;
    this.numberInQemu = numberInQemu;
    this.watch = watch;
    this.pagemap = pagemap;
    this.layout = layout;
    this.ranges = ranges;
  }

  /**
   * Begins to watch: the first {@link #takeWritten} tells every page that is mapped.
   *
   * @param device gives QEMU a descriptor, where it may not make a userfaultfd by itself
   * @param ranges of the blocks of {@code layout}, in its order, in QEMU
   * @throws HostRefusal where that cannot be; nothing is left behind
   */
  public static DirtyTracker start(
      int pid, InjectedUserfaultfd.HandOver device, RamLayout layout, List<RemoteRange> ranges) {
    releaseLeftOver(pid, ranges);
    int number = InjectedUserfaultfd.create(pid, device);
    try {
      WriteWatch watch = WriteWatch.open(take(pid, number));
      try {
        ranges.forEach(watch::register);
        return new DirtyTracker(pid, number, watch, Pagemap.open(pid), layout, ranges);
      } catch (RuntimeException e) {
        watch.close();
        throw e;
      }
    } catch (RuntimeException e) {
      // The last descriptor of it: what was registered is not any more.
      closeInQemu(pid, number);
      throw e;
    }
  }

  private static OwnedFd take(int pid, int number) {
    try (PidFd process = PidFd.open(pid)) {
      return process.takeDescriptor(number);
    }
  }

  /**
   * Lets go of what an agent that died may have left in QEMU. It did no harm, but a range can be
   * watched once only.
   */
  public static void releaseLeftOver(int pid, List<RemoteRange> ranges) {
    for (int number : WriteWatch.findIn(pid)) {
      log.info("userfaultfd {} of QEMU, pid {}, was left behind", number, pid);
      try (WriteWatch watch = WriteWatch.retake(take(pid, number))) {
        release(watch, ranges);
      }
      closeInQemu(pid, number);
    }
  }

  private static void release(WriteWatch watch, List<RemoteRange> ranges) {
    for (RemoteRange range : ranges) {
      try {
        watch.unregister(range);
      } catch (LinuxException e) {
        log.debug("{} was not registered: {}", range, e.getMessage());
      }
    }
  }

  private static void closeInQemu(int pid, int number) {
    int result = InjectedUserfaultfd.close(pid, number);
    if (result < 0) {
      log.warn("closing userfaultfd {} in QEMU: {}", number, Errno.name(-result));
    }
  }

  /**
   * Sets the bits of those of pages [first, end) that were written to since the last call. A write
   * that comes while this runs is told now or by the next call.
   *
   * @throws HostRefusal where QEMU's memory is not watched any more
   * @throws LinuxException where QEMU is gone
   */
  public void takeWritten(int first, int end, PageBitmap written) {
    scan(pagemap::takeWritten, first, end, written);
  }

  /**
   * Sets the bits of those of pages [first, end) that the next {@link #takeWritten} will tell if it
   * comes at once.
   */
  public void findWritten(int first, int end, PageBitmap written) {
    scan(pagemap::findWritten, first, end, written);
  }

  private void scan(Scan scan, int first, int end, PageBitmap written) {
    for (int block = 0; block < ranges.size(); block++) {
      RemoteAddress blockStart = ranges.get(block).start();
      int blockFirst = layout.firstPageOf(block);
      int from = Math.max(first, blockFirst);
      int to = Math.min(end, layout.endPageOf(block));
      if (from < to) {
        scan.over(
            new RemoteRange(
                blockStart.plus((long) (from - blockFirst) * RamLayout.PAGE_BYTES),
                (long) (to - from) * RamLayout.PAGE_BYTES),
            (start, byteLength) ->
                written.setRange(
                    blockFirst + (int) (start.minus(blockStart) / RamLayout.PAGE_BYTES),
                    (int) (byteLength / RamLayout.PAGE_BYTES)));
      }
    }
  }

  private interface Scan {
    void over(RemoteRange range, Pagemap.Written written);
  }

  /** Watches no more, and leaves nothing in QEMU, if it still is there. */
  @Override
  public void close() {
    pagemap.close();
    release(watch, ranges);
    watch.close();
    try {
      closeInQemu(pid, numberInQemu);
    } catch (LinuxException | HostRefusal e) {
      log.info("userfaultfd {} stays in QEMU: {}", numberInQemu, e.getMessage());
    }
  }
}
