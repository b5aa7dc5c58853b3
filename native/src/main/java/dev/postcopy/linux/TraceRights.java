package dev.postcopy.linux;

/** Why this process may not trace another one, "Ptrace access mode checking" in ptrace(2). */
final class TraceRights {
  private TraceRights() {}

  static HostRefusal missing(int pid) {
    return new HostRefusal(
        "no right to trace process " + pid,
        "run the agent as root or with CAP_SYS_PTRACE, or as the same user with"
            + " kernel.yama.ptrace_scope=0");
  }

  static HostRefusal otherTracer(int pid, int tracerPid) {
    return new HostRefusal(
        "process " + pid + " is traced by process " + tracerPid,
        "detach that debugger or strace first");
  }
}
