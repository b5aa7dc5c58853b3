package dev.postcopy.linux.abi;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.StructLayout;
import java.lang.invoke.VarHandle;

/** {@code linux/sched/types.h}: what sched_setattr(2) takes. */
public final class Sched {
  /** The scheduler of ordinary threads; the kernel calls it SCHED_NORMAL. */
  public static final int SCHED_OTHER = 0;

  /** As of Linux 5.3; a kernel takes a shorter one too, and a longer one whose rest is zero. */
  public static final StructLayout SCHED_ATTR =
      MemoryLayout.structLayout(
              JAVA_INT.withName("size"),
              JAVA_INT.withName("sched_policy"),
              JAVA_LONG.withName("sched_flags"),
              JAVA_INT.withName("sched_nice"),
              JAVA_INT.withName("sched_priority"),
              JAVA_LONG.withName("sched_runtime"),
              JAVA_LONG.withName("sched_deadline"),
              JAVA_LONG.withName("sched_period"),
              JAVA_INT.withName("sched_util_min"),
              JAVA_INT.withName("sched_util_max"))
          .withName("struct sched_attr");

  public static final VarHandle SIZE = field("size");
  public static final VarHandle POLICY = field("sched_policy");
  public static final VarHandle NICE = field("sched_nice");
  public static final VarHandle RUNTIME_NANOS = field("sched_runtime");

  private Sched() {}

  private static VarHandle field(String name) {
    return SCHED_ATTR.varHandle(PathElement.groupElement(name));
  }
}
