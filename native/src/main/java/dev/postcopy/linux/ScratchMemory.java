package dev.postcopy.linux;

import dev.postcopy.linux.abi.FileCalls;
import dev.postcopy.linux.abi.MemoryCalls;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * A memfd mapped shared and writable into this process, to try the way of a page on. It hands out
 * no MemorySegment: a Java access that faults and is not answered keeps the whole JVM from its next
 * safepoint.
 */
public final class ScratchMemory implements AutoCloseable {
  private final RamFile file;
  private final RemoteRange range;

  private ScratchMemory(RamFile file, RemoteRange range) {
    this.file = file;
    this.range = range;
  }

  /**
   * Makes and maps a new memfd.
   *
   * @param byteLength a positive multiple of the page size; all of it is a hole at first
   */
  public static ScratchMemory create(long byteLength) {
    OwnedFd fd;
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment name = arena.allocateFrom("postcopy-scratch");
      int result = MemoryCalls.memfd_create(name, MemoryCalls.MFD_CLOEXEC);
      fd = OwnedFd.adopt(LinuxException.orThrow("memfd_create", result));
    }
    try {
      LinuxException.orThrow("ftruncate", FileCalls.ftruncate(fd.number(), byteLength));
      int protection = MemoryCalls.PROT_READ | MemoryCalls.PROT_WRITE;
      long address =
          MemoryCalls.mmap(byteLength, protection, MemoryCalls.MAP_SHARED, fd.number(), 0);
      LinuxException.orThrow("mmap", address);
      RemoteRange range = new RemoteRange(new RemoteAddress(address), byteLength);
      return new ScratchMemory(new RamFile(fd, 0, byteLength), range);
    } catch (RuntimeException e) {
      fd.close();
      throw e;
    }
  }

  public RemoteRange range() {
    return range;
  }

  /** The memory as a file: its holes are the pages that are missing. */
  public RamFile file() {
    return file;
  }

  /**
   * Reads one byte; waits in native state while its page is missing and the range is registered.
   */
  public byte touch(long byteOffset) {
    RemoteAddress address = range.start().plus(byteOffset);
    if (!range.contains(address)) {
      throw new IndexOutOfBoundsException(byteOffset + " of " + range.byteLength() + " bytes");
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment target = arena.allocate(1);
      MemoryCalls.memcpy(target, address.value(), 1);
      return target.get(ValueLayout.JAVA_BYTE, 0);
    }
  }

  /**
   * Cuts the file short, as others could do to the RAM file of a guest: touching the memory behind
   * its end raises SIGBUS.
   */
  public void truncate(long byteLength) {
    LinuxException.orThrow("ftruncate", file.truncate(byteLength));
  }

  /** Unmaps the memory, which no thread may be touching any more. */
  @Override
  public void close() {
    int _ = MemoryCalls.munmap(range.start().value(), range.byteLength());
    file.close();
  }
}
