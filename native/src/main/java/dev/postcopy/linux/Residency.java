package dev.postcopy.linux;

import dev.postcopy.linux.abi.MemoryCalls;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Which pages of mapped RAM are in memory, by mincore(2): it looks at the page cache, also where
 * this process has touched nothing yet, and takes no lock that others wait for. lseek(2) with
 * SEEK_DATA or SEEK_HOLE holds the file's lock, and on shmem looks at each page up to the answer
 * (mm/shmem.c). Owned by one thread; a call allocates nothing.
 */
public final class Residency {

  /** The most pages that one call tells of. */
  public static final int MAX_PAGES = 64;

  private static final int PAGE = 4096;

  private final MemorySegment vector = Arena.ofAuto().allocate(MAX_PAGES);

  /**
   * Counts the pages in memory up to the first that is not.
   *
   * @param byteOffset where to begin in the block, whole pages
   * @param pages 1 to {@link #MAX_PAGES}, within the block
   * @return 0 to {@code pages}. A page that is not in memory is a hole, or swapped out
   */
  public int leadingResident(MappedRam ram, long byteOffset, int pages) {
    if (pages < 1 || pages > MAX_PAGES) {
      throw new IllegalArgumentException(pages + " pages");
    }
    long address = ram.segment().address() + byteOffset;
    long byteLength = (long) pages * PAGE;
    if (MemoryCalls.tryMincore(address, byteLength, vector) < 0) {
      LinuxException.orThrow("mincore", MemoryCalls.mincore(address, byteLength, vector));
    }
    int resident = 0;
    // The other bits of a byte are undefined (mincore(2)).
    while (resident < pages && (vector.get(ValueLayout.JAVA_BYTE, resident) & 1) == 1) {
      resident++;
    }
    return resident;
  }
}
