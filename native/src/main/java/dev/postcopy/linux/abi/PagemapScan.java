package dev.postcopy.linux.abi;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.StructLayout;
import java.lang.invoke.VarHandle;

/**
 * {@code linux/fs.h}: the ioctl(2) of /proc/PID/pagemap that finds pages by what was done to them
 * (Documentation/admin-guide/mm/pagemap.rst). Since Linux 6.7.
 */
public final class PagemapScan {
  public static final long PAGEMAP_SCAN = 0xC0606610L;

  /** A page that was written to since it was write-protected, or that never was protected. */
  public static final long PAGE_IS_WRITTEN = 1L << 1;

  /** Write-protects what is found, in the same step as finding it. */
  public static final long PM_SCAN_WP_MATCHING = 1;

  /** EPERM where a mapping has no userfaultfd that lifts protection by itself. */
  public static final long PM_SCAN_CHECK_WPASYNC = 2;

  public static final StructLayout PAGE_REGION =
      MemoryLayout.structLayout(
              JAVA_LONG.withName("start"),
              JAVA_LONG.withName("end"),
              JAVA_LONG.withName("categories"))
          .withName("struct page_region");

  public static final StructLayout PM_SCAN_ARG =
      MemoryLayout.structLayout(
              JAVA_LONG.withName("size"),
              JAVA_LONG.withName("flags"),
              JAVA_LONG.withName("start"),
              JAVA_LONG.withName("end"),
              JAVA_LONG.withName("walk_end"),
              JAVA_LONG.withName("vec"),
              JAVA_LONG.withName("vec_len"),
              JAVA_LONG.withName("max_pages"),
              JAVA_LONG.withName("category_inverted"),
              JAVA_LONG.withName("category_mask"),
              JAVA_LONG.withName("category_anyof_mask"),
              JAVA_LONG.withName("return_mask"))
          .withName("struct pm_scan_arg");

  public static final VarHandle REGION_START = PAGE_REGION.varHandle(field("start"));
  public static final VarHandle REGION_END = PAGE_REGION.varHandle(field("end"));

  public static final VarHandle ARG_SIZE = PM_SCAN_ARG.varHandle(field("size"));
  public static final VarHandle ARG_FLAGS = PM_SCAN_ARG.varHandle(field("flags"));
  public static final VarHandle ARG_START = PM_SCAN_ARG.varHandle(field("start"));
  public static final VarHandle ARG_END = PM_SCAN_ARG.varHandle(field("end"));
  public static final VarHandle ARG_WALK_END = PM_SCAN_ARG.varHandle(field("walk_end"));
  public static final VarHandle ARG_VEC = PM_SCAN_ARG.varHandle(field("vec"));
  public static final VarHandle ARG_VEC_LEN = PM_SCAN_ARG.varHandle(field("vec_len"));
  public static final VarHandle ARG_CATEGORY_MASK = PM_SCAN_ARG.varHandle(field("category_mask"));
  public static final VarHandle ARG_RETURN_MASK = PM_SCAN_ARG.varHandle(field("return_mask"));

  private PagemapScan() {}

  private static PathElement field(String name) {
    return PathElement.groupElement(name);
  }
}
