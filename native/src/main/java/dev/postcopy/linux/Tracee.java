package dev.postcopy.linux;

import static dev.postcopy.linux.abi.Errno.EINTR;
import static dev.postcopy.linux.abi.Errno.EPERM;
import static dev.postcopy.linux.abi.Errno.ESRCH;
import static dev.postcopy.linux.abi.Errno.ETIMEDOUT;

import dev.postcopy.linux.abi.Ptrace;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/**
 * A thread traced by the calling thread, ptrace(2). All calls must come from the thread that seized
 * it; when that thread ends, the kernel detaches whatever it still traces, stopped or not.
 */
final class Tracee {
  private static final long SPIN_NS = TimeUnit.MILLISECONDS.toNanos(1);
  private static final long PAUSE_NS = TimeUnit.MICROSECONDS.toNanos(50);
  private static final long SIGNAL_SET_BYTES = 8;

  private final int tid;
  private final Arena arena;
  private final MemorySegment word;

  private Tracee(int tid, Arena arena) {
    this.tid = tid;
    this.arena = arena;
    this.word = arena.allocate(ValueLayout.JAVA_LONG);
  }

  /**
   * Starts tracing without stopping the thread.
   *
   * @throws HostRefusal when it may not be traced, or is by another
   * @throws LinuxException ESRCH when there is no such thread
   */
  static Tracee seize(int tid, Arena arena) {
    long result = Ptrace.ptrace(Ptrace.PTRACE_SEIZE, tid, 0);
    if (result == -EPERM && ProcStatus.hasEnded(tid)) {
      throw gone(tid);
    }
    if (result == -EPERM) {
      int tracerPid = ProcStatus.number(tid, "TracerPid");
      throw tracerPid == 0 ? TraceRights.missing(tid) : TraceRights.otherTracer(tid, tracerPid);
    }
    LinuxException.orThrow("ptrace(SEIZE)", result);
    return new Tracee(tid, arena);
  }

  /** Makes the thread stop soon. Any other stop that comes first uses this up. */
  void interrupt() {
    request("ptrace(INTERRUPT)", Ptrace.PTRACE_INTERRUPT, 0, MemorySegment.NULL);
  }

  void resume(int signal) {
    request("ptrace(CONT)", Ptrace.PTRACE_CONT, 0, MemorySegment.ofAddress(signal));
  }

  void singleStep() {
    request("ptrace(SINGLESTEP)", Ptrace.PTRACE_SINGLESTEP, 0, MemorySegment.NULL);
  }

  void detach() {
    request("ptrace(DETACH)", Ptrace.PTRACE_DETACH, 0, MemorySegment.NULL);
  }

  Registers registers() {
    Registers registers = new Registers(arena);
    request("ptrace(GETREGS)", Ptrace.PTRACE_GETREGS, 0, registers.values());
    return registers;
  }

  void setRegisters(Registers registers) {
    request("ptrace(SETREGS)", Ptrace.PTRACE_SETREGS, 0, registers.values());
  }

  /** The signals the thread blocks, bit N-1 for signal N. */
  long signalMask() {
    request("ptrace(GETSIGMASK)", Ptrace.PTRACE_GETSIGMASK, SIGNAL_SET_BYTES, word);
    return word.get(ValueLayout.JAVA_LONG, 0);
  }

  void setSignalMask(long mask) {
    word.set(ValueLayout.JAVA_LONG, 0, mask);
    request("ptrace(SETSIGMASK)", Ptrace.PTRACE_SETSIGMASK, SIGNAL_SET_BYTES, word);
  }

  /**
   * Whether the signal of a signal stop comes from the kernel and not from kill(2) and the like.
   */
  boolean isSignalFromKernel() {
    MemorySegment info = arena.allocate(Ptrace.SIGINFO);
    request("ptrace(GETSIGINFO)", Ptrace.PTRACE_GETSIGINFO, 0, info);
    return (int) Ptrace.SI_CODE.get(info, 0L) > 0;
  }

  /**
   * Waits for the next stop or the end of the thread.
   *
   * @throws LinuxException ETIMEDOUT when neither comes: a thread in an uninterruptible wait, such
   *     as a page fault taken by the kernel, does not stop
   */
  TraceEvent await(long timeoutNs) {
    MemorySegment status = arena.allocate(ValueLayout.JAVA_INT);
    long startNs = System.nanoTime();
    while (true) {
      int result = Ptrace.waitpid(tid, status, Ptrace.__WALL | Ptrace.WNOHANG);
      if (result != -EINTR && LinuxException.orThrow("waitpid", result) == tid) {
        return TraceEvent.of(status.get(ValueLayout.JAVA_INT, 0));
      }
      long waitedNs = System.nanoTime() - startNs;
      if (waitedNs > timeoutNs) {
        throw new LinuxException("waitpid for a stop of thread " + tid, ETIMEDOUT);
      }
      // The usual stop takes some 10 us, and the thread stands still until we have noticed it.
      if (waitedNs < SPIN_NS) {
        Thread.onSpinWait();
      } else {
        LockSupport.parkNanos(PAUSE_NS);
      }
    }
  }

  LinuxException gone() {
    return gone(tid);
  }

  private static LinuxException gone(int tid) {
    return new LinuxException("tracing thread " + tid, ESRCH);
  }

  private void request(String call, int request, long address, MemorySegment data) {
    LinuxException.orThrow(call, Ptrace.ptrace(request, tid, address, data));
  }
}
