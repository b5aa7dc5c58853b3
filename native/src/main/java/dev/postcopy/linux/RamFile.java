package dev.postcopy.linux;

import static dev.postcopy.linux.abi.Errno.ENXIO;

import dev.postcopy.linux.abi.FileCalls;
import dev.postcopy.linux.abi.Stat;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.VarHandle;

/**
 * The part of a RAM file that is one RAM block. Offsets are bytes from the start of the block.
 *
 * <p>Not for concurrent use: looking for data and holes moves the position of the open file.
 */
public final class RamFile implements AutoCloseable {
  private final OwnedFd fd;
  private final long baseByteOffset;
  private final long byteLength;

  RamFile(OwnedFd fd, long baseByteOffset, long byteLength) {
    this.fd = fd;
    this.baseByteOffset = baseByteOffset;
    this.byteLength = byteLength;
  }

  /** Takes over {@code fd}, also when it throws. */
  static RamFile of(OwnedFd fd, RamMapping mapping) {
    RamFile file = new RamFile(fd, mapping.fileByteOffset(), mapping.range().byteLength());
    if (file.stat(Stat.ST_INO) == mapping.inode() && file.stat(Stat.ST_DEV) == mapping.device()) {
      return file;
    }
    file.close();
    throw new IllegalStateException(
        "RAM block %s: process %d has another file mapped at %s now"
            .formatted(mapping.blockId(), mapping.pid(), mapping.range()));
  }

  /** The length of the block. */
  public long byteLength() {
    return byteLength;
  }

  /** Frees all pages of the block: it reads as zeros, and every mapping of it faults again. */
  public void punchAll() {
    punch(0, byteLength);
  }

  /**
   * Frees the pages within a range, fallocate(2) FALLOC_FL_PUNCH_HOLE. A page that is only partly
   * in the range is zeroed there instead.
   *
   * @throws LinuxException when the kernel refuses, for example EPERM for a sealed memfd
   */
  public void punch(long byteOffset, long byteLength) {
    requireWithin(byteOffset, byteLength);
    int mode = FileCalls.FALLOC_FL_PUNCH_HOLE | FileCalls.FALLOC_FL_KEEP_SIZE;
    int result = FileCalls.fallocate(fd.number(), mode, baseByteOffset + byteOffset, byteLength);
    LinuxException.orThrow("fallocate(PUNCH_HOLE)", result);
  }

  /**
   * The first offset, from {@code byteOffset} on, with data; {@link #byteLength} when there is
   * none.
   *
   * @throws TruncatedFileException when the file ends before the block does
   */
  public long nextData(long byteOffset) {
    return seek(byteOffset, FileCalls.SEEK_DATA, "lseek(SEEK_DATA)");
  }

  /**
   * The first offset, from {@code byteOffset} on, in a hole; {@link #byteLength} when there is
   * none.
   */
  public long nextHole(long byteOffset) {
    return seek(byteOffset, FileCalls.SEEK_HOLE, "lseek(SEEK_HOLE)");
  }

  private long seek(long byteOffset, int whence, String call) {
    requireWithin(byteOffset, 0);
    long found = FileCalls.lseek(fd.number(), baseByteOffset + byteOffset, whence);
    if (found == -ENXIO) {
      // There is no data before the file's end: is that where it has to be?
      requireWhole();
      return byteLength;
    }
    return Math.min(LinuxException.orThrow(call, found) - baseByteOffset, byteLength);
  }

  /**
   * The file has been truncated where it is shorter than its block; to lseek(2) that looks like a
   * hole.
   */
  private void requireWhole() {
    long fileBytes = FileCalls.tryLength(fd.number());
    if (fileBytes < baseByteOffset + byteLength) {
      throw new TruncatedFileException(baseByteOffset + byteLength, fileBytes);
    }
  }

  /** What the whole file occupies, in bytes, other blocks of it included. */
  public long allocatedBytes() {
    return 512 * stat(Stat.ST_BLOCKS);
  }

  /**
   * What an unprivileged user may still allocate on the filesystem; Long.MAX_VALUE where it has no
   * limit.
   */
  public long filesystemFreeBytes() {
    if (statfs(Stat.F_BLOCKS) == 0) {
      return Long.MAX_VALUE;
    }
    return statfs(Stat.F_BAVAIL) * statfs(Stat.F_BSIZE);
  }

  /** Maps the block read-only into this process. */
  public MappedRam mapReadOnly() {
    return MappedRam.map(fd, baseByteOffset, byteLength);
  }

  int truncate(long fileBytes) {
    return FileCalls.ftruncate(fd.number(), fileBytes);
  }

  void requireTmpfs(String blockId) {
    long type = statfs(Stat.F_TYPE) & 0xffff_ffffL;
    if (type == Stat.HUGETLBFS_MAGIC) {
      throw new HostRefusal(
          "RAM block " + blockId + " is on hugetlbfs",
          "start the VM with its memory-backend-file on tmpfs, /dev/shm for example");
    }
    if (type != Stat.TMPFS_MAGIC) {
      throw new HostRefusal(
          "RAM block %s is on a filesystem of type 0x%x".formatted(blockId, type),
          "start the VM with its memory-backend-file on tmpfs, /dev/shm for example");
    }
  }

  private void requireWithin(long byteOffset, long length) {
    if (byteOffset < 0 || length < 0 || byteOffset > byteLength - length) {
      throw new IndexOutOfBoundsException(
          "%d bytes at %d of a block of %d".formatted(length, byteOffset, byteLength));
    }
  }

  private long stat(VarHandle field) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment stat = arena.allocate(Stat.STAT);
      LinuxException.orThrow("fstat", Stat.fstat(fd.number(), stat));
      return (long) field.get(stat, 0L);
    }
  }

  private long statfs(VarHandle field) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment statfs = arena.allocate(Stat.STATFS);
      LinuxException.orThrow("fstatfs", Stat.fstatfs(fd.number(), statfs));
      return (long) field.get(statfs, 0L);
    }
  }

  @Override
  public void close() {
    fd.close();
  }
}
