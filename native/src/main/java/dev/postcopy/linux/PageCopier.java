package dev.postcopy.linux;

import dev.postcopy.linux.abi.Errno;
import dev.postcopy.linux.abi.FileCalls;
import dev.postcopy.linux.abi.Uffd;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * UFFDIO_COPY and UFFDIO_WAKE with structures of its own, so that no call allocates but one that
 * fails: it is made again to learn why. Owned by one thread. It reports what the kernel said and
 * decides nothing.
 */
public final class PageCopier {
  private final Userfaultfd userfaultfd;
  private final MemorySegment copy = Arena.ofAuto().allocate(Uffd.COPY);
  private final MemorySegment range = Arena.ofAuto().allocate(Uffd.RANGE);

  PageCopier(Userfaultfd userfaultfd) {
    this.userfaultfd = userfaultfd;
  }

  /**
   * Places pages that are missing.
   *
   * @param dstAddress page-aligned, in the process that owns the userfaultfd
   * @param srcAddress in this process, of any alignment
   * @param byteLength a positive multiple of the page size
   * @param wake whether threads that wait for the range are woken. Nobody is woken when the call
   *     fails with nothing copied
   * @return 0 when all was copied, or {@code -errno}, ioctl_userfaultfd(2): EAGAIN, EEXIST, EFAULT,
   *     EINVAL, ENOENT, ENOSPC, ESRCH
   */
  public int copy(long dstAddress, long srcAddress, long byteLength, boolean wake) {
    Uffd.COPY_DST.set(copy, 0L, dstAddress);
    Uffd.COPY_SRC.set(copy, 0L, srcAddress);
    Uffd.COPY_LEN.set(copy, 0L, byteLength);
    Uffd.COPY_MODE.set(copy, 0L, wake ? 0L : Uffd.UFFDIO_COPY_MODE_DONTWAKE);
    // Not every failure writes the field.
    Uffd.COPY_COPY.set(copy, 0L, 0L);
    if (FileCalls.tryIoctl(userfaultfd.number(), Uffd.UFFDIO_COPY, copy) == 0) {
      return 0;
    }
    if (copiedBytes() > 0) {
      // The only errno that comes with pages copied (fs/userfaultfd.c).
      return -Errno.EAGAIN;
    }
    Uffd.COPY_COPY.set(copy, 0L, 0L);
    return FileCalls.ioctl(userfaultfd.number(), Uffd.UFFDIO_COPY, copy);
  }

  /** Bytes, from the start, that the last {@link #copy} placed; 0 when none. */
  public long copiedBytes() {
    return Math.max(0, (long) Uffd.COPY_COPY.get(copy, 0L));
  }

  /**
   * Wakes the threads that wait for a page of a range; they fault again where it is still missing.
   *
   * @return 0 or {@code -errno}
   */
  public int wake(long dstAddress, long byteLength) {
    Uffd.RANGE_START.set(range, 0L, dstAddress);
    Uffd.RANGE_LEN.set(range, 0L, byteLength);
    if (FileCalls.tryIoctl(userfaultfd.number(), Uffd.UFFDIO_WAKE, range) == 0) {
      return 0;
    }
    return FileCalls.ioctl(userfaultfd.number(), Uffd.UFFDIO_WAKE, range);
  }
}
