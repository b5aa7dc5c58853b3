package dev.postcopy.linux;

import dev.postcopy.linux.abi.MemoryCalls;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * A RAM block mapped into this process, read-only and shared with its VMM.
 *
 * <p>Reading a hole through the mapping allocates its page on tmpfs: ask {@link RamFile#nextData}
 * first. A page that is beyond the end of a truncated file raises SIGBUS, which the JVM turns into
 * an InternalError.
 */
public final class MappedRam implements AutoCloseable {
  private final Arena arena;
  private final MemorySegment segment;

  private MappedRam(Arena arena, MemorySegment segment) {
    this.arena = arena;
    this.segment = segment;
  }

  static MappedRam map(OwnedFd fd, long byteOffset, long byteLength) {
    long address =
        LinuxException.orThrow(
            "mmap",
            MemoryCalls.mmap(
                byteLength,
                MemoryCalls.PROT_READ,
                MemoryCalls.MAP_SHARED,
                fd.number(),
                byteOffset));
    // A core dump of the agent must not hold guest memory; where the kernel cannot, nothing is
    // lost.
    int _ = MemoryCalls.madvise(address, byteLength, MemoryCalls.MADV_DONTDUMP);
    Arena arena = Arena.ofShared();
    MemorySegment segment =
        MemorySegment.ofAddress(address)
            .reinterpret(byteLength, arena, s -> MemoryCalls.munmap(address, byteLength))
            .asReadOnly();
    return new MappedRam(arena, segment);
  }

  /** The whole block. Any thread may read it until {@link #close}. */
  public MemorySegment segment() {
    return segment;
  }

  /** Unmaps the block. Raw addresses taken from the segment must not be in use any more. */
  @Override
  public void close() {
    if (arena.scope().isAlive()) {
      arena.close();
    }
  }
}
