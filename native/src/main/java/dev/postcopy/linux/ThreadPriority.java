package dev.postcopy.linux;

import dev.postcopy.linux.abi.Errno;
import dev.postcopy.linux.abi.Sched;
import dev.postcopy.linux.abi.Syscalls;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** How soon the scheduler lets the calling thread run, where others want the processor too. */
public final class ThreadPriority {

  private static final Logger log = LoggerFactory.getLogger(ThreadPriority.class);

  /** Fifteen above the usual: about thirty times the weight (kernel: sched_prio_to_weight). */
  static final int URGENT_NICE = -15;

  private static final int USUAL_NICE = 0;

  /**
   * The shortest slice that the kernel gives (kernel/sched/syscalls.c, __setscheduler_params). Who
   * wakes with a shorter slice than the one that runs may take its place at once (since Linux 6.12,
   * kernel/sched/features.h, PREEMPT_SHORT), also from another control group or session, between
   * which nice values count for nothing. Older kernels leave it out.
   */
  static final long SHORT_SLICE_NANOS = 100_000;

  private static final long SELF = 0;
  private static final long NO_FLAGS = 0;

  private ThreadPriority() {}

  /**
   * For a thread that a vCPU waits for: it works for microseconds at a time, and should not wait
   * for the end of the time slice of another vCPU. The slice takes no right; the nice value takes
   * CAP_SYS_NICE or an RLIMIT_NICE that allows it, and stays without.
   *
   * @return 0, or −errno when the thread is as before
   */
  public static int raise() {
    int result = set(URGENT_NICE);
    if (result == -Errno.EPERM) {
      result = set(USUAL_NICE);
    }
    if (result < 0) {
      log.info(
          "thread {} is scheduled like any other: {}",
          Thread.currentThread().getName(),
          Errno.name(-result));
    }
    return result;
  }

  private static int set(int nice) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment attributes = arena.allocate(Sched.SCHED_ATTR);
      Sched.SIZE.set(attributes, 0L, (int) Sched.SCHED_ATTR.byteSize());
      Sched.POLICY.set(attributes, 0L, Sched.SCHED_OTHER);
      Sched.NICE.set(attributes, 0L, nice);
      Sched.RUNTIME_NANOS.set(attributes, 0L, SHORT_SLICE_NANOS);
      return (int)
          Syscalls.syscall(Syscalls.SYS_sched_setattr, SELF, attributes.address(), NO_FLAGS);
    }
  }
}
