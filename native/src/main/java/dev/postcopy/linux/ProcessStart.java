package dev.postcopy.linux;

import java.util.List;

/** When a process started: with its pid this names it for good, pids alone are used again. */
public final class ProcessStart {

  /** Fields of proc_pid_stat(5) are counted from 1; the name before field 3 may hold anything. */
  private static final int START_TIME = 22 - 3;

  private ProcessStart() {}

  /**
   * In clock ticks since boot.
   *
   * @throws LinuxException ESRCH when there is no such process
   */
  public static long ticks(int pid) {
    String stat = String.join(" ", ProcStatus.lines(pid, "stat"));
    List<String> fields = List.of(stat.substring(stat.lastIndexOf(')') + 2).split(" "));
    return Long.parseLong(fields.get(START_TIME));
  }

  /** Whether {@code pid} is a process that started at {@code ticks}. */
  public static boolean isAlive(int pid, long ticks) {
    try {
      return !ProcStatus.hasEnded(pid) && ticks(pid) == ticks;
    } catch (LinuxException e) {
      return false;
    }
  }
}
