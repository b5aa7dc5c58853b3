package dev.postcopy.linux;

import static dev.postcopy.linux.abi.Errno.EPERM;

import dev.postcopy.linux.abi.FileCalls;
import dev.postcopy.linux.abi.PagemapScan;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Which pages of a process were written to, by the PAGEMAP_SCAN ioctl(2) on /proc/PID/pagemap, on
 * ranges that a {@link WriteWatch} is registered for. Owned by one thread.
 */
public final class Pagemap implements AutoCloseable {

  /** Ranges of pages that one system call tells of. */
  private static final int REGIONS = 4096;

  private final OwnedFd fd;
  private final Arena arena = Arena.ofShared();
  private final MemorySegment argument = arena.allocate(PagemapScan.PM_SCAN_ARG);
  private final MemorySegment regions = arena.allocate(PagemapScan.PAGE_REGION, REGIONS);

  private Pagemap(OwnedFd fd) {
    this.fd = fd;
  }

  /**
   * Opens the page map of a process.
   *
   * @throws LinuxException ENOENT when there is no such process, EACCES or EPERM when this process
   *     may not look at it
   */
  public static Pagemap open(int pid) {
    return new Pagemap(OwnedFd.open("/proc/%d/pagemap".formatted(pid), FileCalls.O_RDONLY));
  }

  /**
   * Tells every page of a range that was written to since the last call, and write-protects it
   * again, page by page in one step: a write is told by this call or by the next, or by both. A
   * page that was never told counts as written. When this returns, no processor and no vCPU has a
   * way left to write to a page that was told and not be noticed.
   *
   * @param range whole pages
   * @param written called for each run of pages, ascending
   * @throws HostRefusal when some of the range is not watched
   */
  public void takeWritten(RemoteRange range, Written written) {
    scan(range, PagemapScan.PM_SCAN_WP_MATCHING, written);
  }

  /**
   * Tells the same pages as {@link #takeWritten} would, and leaves them as they are: a later call
   * tells them again.
   */
  public void findWritten(RemoteRange range, Written written) {
    scan(range, 0, written);
  }

  private void scan(RemoteRange range, long flags, Written written) {
    long next = range.start().value();
    long end = range.end().value();
    while (next < end) {
      next = scan(next, end, flags, written);
    }
  }

  private long scan(long start, long end, long flags, Written written) {
    PagemapScan.ARG_SIZE.set(argument, 0L, PagemapScan.PM_SCAN_ARG.byteSize());
    PagemapScan.ARG_FLAGS.set(argument, 0L, flags | PagemapScan.PM_SCAN_CHECK_WPASYNC);
    PagemapScan.ARG_START.set(argument, 0L, start);
    PagemapScan.ARG_END.set(argument, 0L, end);
    PagemapScan.ARG_VEC.set(argument, 0L, regions.address());
    PagemapScan.ARG_VEC_LEN.set(argument, 0L, (long) REGIONS);
    PagemapScan.ARG_CATEGORY_MASK.set(argument, 0L, PagemapScan.PAGE_IS_WRITTEN);
    PagemapScan.ARG_RETURN_MASK.set(argument, 0L, PagemapScan.PAGE_IS_WRITTEN);
    int count = FileCalls.ioctl(fd.number(), PagemapScan.PAGEMAP_SCAN, argument);
    if (count == -EPERM) {
      throw new HostRefusal(
          "writes to guest RAM are not watched any more",
          "end whatever else uses userfaultfd on this VM");
    }
    LinuxException.orThrow("ioctl(PAGEMAP_SCAN)", count);
    for (int i = 0; i < count; i++) {
      long at = i * PagemapScan.PAGE_REGION.byteSize();
      long regionStart = (long) PagemapScan.REGION_START.get(regions, at);
      long regionEnd = (long) PagemapScan.REGION_END.get(regions, at);
      written.accept(new RemoteAddress(regionStart), regionEnd - regionStart);
    }
    return (long) PagemapScan.ARG_WALK_END.get(argument, 0L);
  }

  /** Takes a run of pages. */
  @FunctionalInterface
  public interface Written {
    void accept(RemoteAddress start, long byteLength);
  }

  @Override
  public void close() {
    fd.close();
    arena.close();
  }
}
