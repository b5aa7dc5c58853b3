package dev.postcopy.linux;

import dev.postcopy.linux.abi.Ptrace;

/** What waitpid(2) reports about a traced thread, "Stopped states" in ptrace(2). */
sealed interface TraceEvent {
  /** It ended, with an exit status or by a signal. */
  record Ended() implements TraceEvent {}

  /** It stopped because of PTRACE_INTERRUPT, or of job control. */
  record EventStop() implements TraceEvent {}

  /** It stopped before a signal is delivered to it. */
  record SignalStop(int signal) implements TraceEvent {}

  /**
   * The encoding of a wait status is that of wait(2) and of ptrace(2)'s {@code status>>8} rules.
   */
  static TraceEvent of(int waitStatus) {
    if ((waitStatus & 0xff) != 0x7f) {
      return new Ended();
    }
    if (waitStatus >> 16 == Ptrace.PTRACE_EVENT_STOP) {
      return new EventStop();
    }
    return new SignalStop(waitStatus >> 8 & 0xff);
  }
}
