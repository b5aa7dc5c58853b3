package dev.postcopy.linux.abi;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.StructLayout;
import java.lang.invoke.VarHandle;

/**
 * {@code linux/fs.h}: the ioctl(2) of /proc/PID/maps that finds one mapping by what it is
 * (fs/proc/task_mmu.c). Since Linux 6.11.
 */
public final class ProcmapQuery {
  public static final long PROCMAP_QUERY = 0xC0686611L;

  public static final long PROCMAP_QUERY_VMA_WRITABLE = 0x02;

  public static final long PROCMAP_QUERY_VMA_SHARED = 0x08;

  /** The first that ends above the address, and not only one that covers it. */
  public static final long PROCMAP_QUERY_COVERING_OR_NEXT_VMA = 0x10;

  public static final long PROCMAP_QUERY_FILE_BACKED_VMA = 0x20;

  public static final StructLayout QUERY =
      MemoryLayout.structLayout(
              JAVA_LONG.withName("size"),
              JAVA_LONG.withName("query_flags"),
              JAVA_LONG.withName("query_addr"),
              JAVA_LONG.withName("vma_start"),
              JAVA_LONG.withName("vma_end"),
              JAVA_LONG.withName("vma_flags"),
              JAVA_LONG.withName("vma_page_size"),
              JAVA_LONG.withName("vma_offset"),
              JAVA_LONG.withName("inode"),
              JAVA_INT.withName("dev_major"),
              JAVA_INT.withName("dev_minor"),
              JAVA_INT.withName("vma_name_size"),
              JAVA_INT.withName("build_id_size"),
              JAVA_LONG.withName("vma_name_addr"),
              JAVA_LONG.withName("build_id_addr"))
          .withName("struct procmap_query");

  public static final VarHandle QUERY_SIZE = QUERY.varHandle(field("size"));
  public static final VarHandle QUERY_FLAGS = QUERY.varHandle(field("query_flags"));
  public static final VarHandle QUERY_ADDR = QUERY.varHandle(field("query_addr"));
  public static final VarHandle QUERY_VMA_END = QUERY.varHandle(field("vma_end"));
  public static final VarHandle QUERY_INODE = QUERY.varHandle(field("inode"));
  public static final VarHandle QUERY_DEV_MAJOR = QUERY.varHandle(field("dev_major"));
  public static final VarHandle QUERY_DEV_MINOR = QUERY.varHandle(field("dev_minor"));

  private ProcmapQuery() {}

  private static PathElement field(String name) {
    return PathElement.groupElement(name);
  }
}
