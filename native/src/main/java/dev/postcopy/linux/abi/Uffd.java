package dev.postcopy.linux.abi;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.StructLayout;
import java.lang.invoke.VarHandle;

/** {@code linux/userfaultfd.h}; the calls are ioctl_userfaultfd(2). */
public final class Uffd {
  public static final long UFFD_API = 0xAA;

  /** Since Linux 4.11: missing pages of tmpfs and memfd. */
  public static final long UFFD_FEATURE_MISSING_SHMEM = 1L << 5;

  /** Since Linux 4.14: a fault message says which thread faulted. */
  public static final long UFFD_FEATURE_THREAD_ID = 1L << 8;

  /** Since Linux 5.19: write protection of shared memory. */
  public static final long UFFD_FEATURE_WP_HUGETLBFS_SHMEM = 1L << 12;

  /** Since Linux 6.4: write protection of pages that are not there yet. */
  public static final long UFFD_FEATURE_WP_UNPOPULATED = 1L << 13;

  /** Since Linux 6.7: the kernel lifts the protection at a write, and tells nobody. */
  public static final long UFFD_FEATURE_WP_ASYNC = 1L << 15;

  public static final long UFFDIO_API = 0xC018AA3FL;
  public static final long UFFDIO_REGISTER = 0xC020AA00L;
  public static final long UFFDIO_UNREGISTER = 0x8010AA01L;

  /** "Read" although nothing is read: the header says _IOR. */
  public static final long UFFDIO_WAKE = 0x8010AA02L;

  public static final long UFFDIO_COPY = 0xC028AA03L;

  /** On /dev/userfaultfd, argument as the flags of userfaultfd(2); since Linux 6.1. */
  public static final long USERFAULTFD_IOC_NEW = 0xAA00L;

  public static final long UFFDIO_WRITEPROTECT = 0xC018AA06L;

  public static final long UFFDIO_REGISTER_MODE_MISSING = 1;
  public static final long UFFDIO_REGISTER_MODE_WP = 2;
  public static final long UFFDIO_WRITEPROTECT_MODE_WP = 1;
  public static final long UFFDIO_COPY_MODE_DONTWAKE = 1;

  public static final int UFFD_EVENT_PAGEFAULT = 0x12;
  public static final int UFFD_EVENT_FORK = 0x13;
  public static final int UFFD_EVENT_REMAP = 0x14;
  public static final int UFFD_EVENT_REMOVE = 0x15;
  public static final int UFFD_EVENT_UNMAP = 0x16;

  public static final long UFFD_PAGEFAULT_FLAG_WRITE = 1;

  public static final StructLayout API =
      MemoryLayout.structLayout(
              JAVA_LONG.withName("api"),
              JAVA_LONG.withName("features"),
              JAVA_LONG.withName("ioctls"))
          .withName("struct uffdio_api");

  public static final StructLayout RANGE =
      MemoryLayout.structLayout(JAVA_LONG.withName("start"), JAVA_LONG.withName("len"))
          .withName("struct uffdio_range");

  public static final StructLayout REGISTER =
      MemoryLayout.structLayout(
              JAVA_LONG.withName("range.start"),
              JAVA_LONG.withName("range.len"),
              JAVA_LONG.withName("mode"),
              JAVA_LONG.withName("ioctls"))
          .withName("struct uffdio_register");

  public static final StructLayout WRITEPROTECT =
      MemoryLayout.structLayout(
              JAVA_LONG.withName("range.start"),
              JAVA_LONG.withName("range.len"),
              JAVA_LONG.withName("mode"))
          .withName("struct uffdio_writeprotect");

  public static final StructLayout COPY =
      MemoryLayout.structLayout(
              JAVA_LONG.withName("dst"),
              JAVA_LONG.withName("src"),
              JAVA_LONG.withName("len"),
              JAVA_LONG.withName("mode"),
              JAVA_LONG.withName("copy"))
          .withName("struct uffdio_copy");

  /** As filled for UFFD_EVENT_PAGEFAULT. */
  public static final StructLayout MSG =
      MemoryLayout.structLayout(
              JAVA_BYTE.withName("event"),
              MemoryLayout.paddingLayout(7),
              JAVA_LONG.withName("arg.pagefault.flags"),
              JAVA_LONG.withName("arg.pagefault.address"),
              JAVA_INT.withName("arg.pagefault.feat.ptid"),
              MemoryLayout.paddingLayout(4))
          .withName("struct uffd_msg");

  public static final VarHandle API_API = API.varHandle(PathElement.groupElement("api"));
  public static final VarHandle API_FEATURES = API.varHandle(PathElement.groupElement("features"));

  public static final VarHandle RANGE_START = RANGE.varHandle(PathElement.groupElement("start"));
  public static final VarHandle RANGE_LEN = RANGE.varHandle(PathElement.groupElement("len"));

  public static final VarHandle REGISTER_START =
      REGISTER.varHandle(PathElement.groupElement("range.start"));
  public static final VarHandle REGISTER_LEN =
      REGISTER.varHandle(PathElement.groupElement("range.len"));
  public static final VarHandle REGISTER_MODE =
      REGISTER.varHandle(PathElement.groupElement("mode"));

  public static final VarHandle WRITEPROTECT_START =
      WRITEPROTECT.varHandle(PathElement.groupElement("range.start"));
  public static final VarHandle WRITEPROTECT_LEN =
      WRITEPROTECT.varHandle(PathElement.groupElement("range.len"));
  public static final VarHandle WRITEPROTECT_MODE =
      WRITEPROTECT.varHandle(PathElement.groupElement("mode"));

  public static final VarHandle COPY_DST = COPY.varHandle(PathElement.groupElement("dst"));
  public static final VarHandle COPY_SRC = COPY.varHandle(PathElement.groupElement("src"));
  public static final VarHandle COPY_LEN = COPY.varHandle(PathElement.groupElement("len"));
  public static final VarHandle COPY_MODE = COPY.varHandle(PathElement.groupElement("mode"));
  public static final VarHandle COPY_COPY = COPY.varHandle(PathElement.groupElement("copy"));

  public static final VarHandle MSG_EVENT = MSG.varHandle(PathElement.groupElement("event"));
  public static final VarHandle MSG_FLAGS =
      MSG.varHandle(PathElement.groupElement("arg.pagefault.flags"));
  public static final VarHandle MSG_ADDRESS =
      MSG.varHandle(PathElement.groupElement("arg.pagefault.address"));
  public static final VarHandle MSG_PTID =
      MSG.varHandle(PathElement.groupElement("arg.pagefault.feat.ptid"));

  private Uffd() {}
}
