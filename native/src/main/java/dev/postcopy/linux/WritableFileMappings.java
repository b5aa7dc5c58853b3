package dev.postcopy.linux;

import dev.postcopy.linux.abi.FileCalls;
import dev.postcopy.linux.abi.ProcmapQuery;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * The mappings by which a process may write to a file that others see, one after the other, by
 * PROCMAP_QUERY (Linux 6.11). The kernel passes over all the others, where the text of
 * proc_pid_maps(5) has a line for each. Owned by one thread.
 */
final class WritableFileMappings {

  private static final long SUCH_A_ONE =
      ProcmapQuery.PROCMAP_QUERY_VMA_WRITABLE
          | ProcmapQuery.PROCMAP_QUERY_VMA_SHARED
          | ProcmapQuery.PROCMAP_QUERY_FILE_BACKED_VMA
          | ProcmapQuery.PROCMAP_QUERY_COVERING_OR_NEXT_VMA;

  private final MemorySegment query = Arena.ofAuto().allocate(ProcmapQuery.QUERY);

  /**
   * Goes to the first that ends above {@code address}.
   *
   * @param maps the process's opened {@code /proc/PID/maps}
   * @return 0 or {@code -errno}: ENOENT when there is none, ESRCH when the process is gone or has
   *     no memory of its own, ENOTTY on an older kernel
   */
  int next(OwnedFd maps, long address) {
    query.fill((byte) 0);
    ProcmapQuery.QUERY_SIZE.set(query, 0L, ProcmapQuery.QUERY.byteSize());
    ProcmapQuery.QUERY_FLAGS.set(query, 0L, SUCH_A_ONE);
    ProcmapQuery.QUERY_ADDR.set(query, 0L, address);
    return FileCalls.ioctl(maps.number(), ProcmapQuery.PROCMAP_QUERY, query);
  }

  /** Where this one ends. */
  long endAddress() {
    return (long) ProcmapQuery.QUERY_VMA_END.get(query, 0L);
  }

  /** The st_dev of its file. */
  long device() {
    return ProcMaps.deviceNumber(
        Integer.toUnsignedLong((int) ProcmapQuery.QUERY_DEV_MAJOR.get(query, 0L)),
        Integer.toUnsignedLong((int) ProcmapQuery.QUERY_DEV_MINOR.get(query, 0L)));
  }

  /** The st_ino of its file. */
  long inode() {
    return (long) ProcmapQuery.QUERY_INODE.get(query, 0L);
  }
}
