package dev.postcopy.linux.abi;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.StructLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.VarHandle;

/** fstat(2) and fstatfs(2). */
public final class Stat {
  /** {@code linux/magic.h}; memfd and anonymous shared memory have it too. */
  public static final long TMPFS_MAGIC = 0x01021994L;

  public static final long HUGETLBFS_MAGIC = 0x958458f6L;

  public static final StructLayout STAT =
      MemoryLayout.structLayout(
              JAVA_LONG.withName("st_dev"),
              JAVA_LONG.withName("st_ino"),
              JAVA_LONG.withName("st_nlink"),
              JAVA_INT.withName("st_mode"),
              MemoryLayout.paddingLayout(20),
              JAVA_LONG.withName("st_size"),
              JAVA_LONG.withName("st_blksize"),
              JAVA_LONG.withName("st_blocks"),
              MemoryLayout.paddingLayout(72))
          .withName("struct stat");

  public static final StructLayout STATFS =
      MemoryLayout.structLayout(
              JAVA_LONG.withName("f_type"),
              JAVA_LONG.withName("f_bsize"),
              JAVA_LONG.withName("f_blocks"),
              JAVA_LONG.withName("f_bfree"),
              JAVA_LONG.withName("f_bavail"),
              MemoryLayout.paddingLayout(80))
          .withName("struct statfs");

  public static final VarHandle ST_DEV = STAT.varHandle(PathElement.groupElement("st_dev"));
  public static final VarHandle ST_INO = STAT.varHandle(PathElement.groupElement("st_ino"));
  public static final VarHandle ST_SIZE = STAT.varHandle(PathElement.groupElement("st_size"));

  /** Units of 512 bytes whatever the block size is. */
  public static final VarHandle ST_BLOCKS = STAT.varHandle(PathElement.groupElement("st_blocks"));

  public static final VarHandle F_TYPE = STATFS.varHandle(PathElement.groupElement("f_type"));
  public static final VarHandle F_BSIZE = STATFS.varHandle(PathElement.groupElement("f_bsize"));
  public static final VarHandle F_BLOCKS = STATFS.varHandle(PathElement.groupElement("f_blocks"));
  public static final VarHandle F_BAVAIL = STATFS.varHandle(PathElement.groupElement("f_bavail"));

  private static final MethodHandle FSTAT =
      Downcalls.capturingErrno("fstat", FunctionDescriptor.of(JAVA_INT, JAVA_INT, ADDRESS));
  private static final MethodHandle FSTATFS =
      Downcalls.capturingErrno("fstatfs", FunctionDescriptor.of(JAVA_INT, JAVA_INT, ADDRESS));

  private Stat() {}

  public static int fstat(int fd, MemorySegment stat) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((int) FSTAT.invokeExact(state, fd, stat), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  public static int fstatfs(int fd, MemorySegment statfs) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((int) FSTATFS.invokeExact(state, fd, statfs), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }
}
