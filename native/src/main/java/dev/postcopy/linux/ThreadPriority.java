package dev.postcopy.linux;

import dev.postcopy.linux.abi.Errno;
import dev.postcopy.linux.abi.Syscalls;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** How soon the scheduler lets the calling thread run, where others want the processor too. */
public final class ThreadPriority {

  private static final Logger log = LoggerFactory.getLogger(ThreadPriority.class);

  /** Fifteen above the usual: about thirty times the weight (kernel: sched_prio_to_weight). */
  static final int URGENT_NICE = -15;

  /** Who: the calling thread; on Linux each has a nice value of its own (setpriority(2), NOTES). */
  private static final long SELF = 0;

  private static final long PRIO_PROCESS = 0;

  private ThreadPriority() {}

  /**
   * For a thread that a vCPU waits for: it works for microseconds at a time, and should not wait
   * for the end of the time slice of another vCPU. Needs CAP_SYS_NICE or an RLIMIT_NICE that allows
   * it; without, the thread stays as it is.
   *
   * @return 0, or −errno
   */
  public static int raise() {
    int result = (int) Syscalls.syscall(Syscalls.SYS_setpriority, PRIO_PROCESS, SELF, URGENT_NICE);
    if (result < 0) {
      log.info(
          "thread {} keeps its priority: {}; LimitNICE=-15 in its unit allows more",
          Thread.currentThread().getName(),
          Errno.name(-result));
    }
    return result;
  }
}
