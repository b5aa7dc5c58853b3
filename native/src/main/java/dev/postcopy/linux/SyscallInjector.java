package dev.postcopy.linux;

import static dev.postcopy.linux.abi.Errno.ETIMEDOUT;

import dev.postcopy.linux.abi.Ptrace;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;

/**
 * Runs a system call in the main thread of another process, which then goes on as if nothing had
 * happened: no code is patched, its registers and signal mask are as before, and a call it was
 * waiting in restarts. Only calls that signal(7) lists as failing with EINTR after a stop,
 * epoll_wait(2) for one, can notice, and code in a critical section of rseq(2), which is not
 * restarted. The main thread of QEMU waits in ppoll(2), which is not of that list.
 */
public final class SyscallInjector {
  private static final long TIMEOUT_NS = TimeUnit.SECONDS.toNanos(2);

  // The kernel forces the SIGTRAP of a single step; were it blocked, the process's SIGTRAP handler
  // would be reset.
  private static final long ALL_SIGNALS_BUT_SIGTRAP = ~(1L << (Ptrace.SIGTRAP - 1));

  private SyscallInjector() {}

  /**
   * Runs one system call in the main thread of a process.
   *
   * @param pid not a child of this JVM, whose child reaper would swallow the stops
   * @param number as in asm/unistd_64.h; a call that waits is interrupted after 2 s
   * @param arguments at most six; pointers are addresses in the other process
   * @return what the kernel returned: {@code -errno} on failure, and for a call that was
   *     interrupted also the -512 to -516 of its linux/errno.h
   * @throws HostRefusal when the process may not be traced or is by another
   * @throws LinuxException ESRCH when the process is gone or ends meanwhile, ETIMEDOUT when its
   *     main thread does not stop within 2 s; it was not changed then
   */
  public static long inject(int pid, long number, long... arguments) {
    if (arguments.length > Registers.MAX_ARGUMENTS) {
      throw new IllegalArgumentException(arguments.length + " arguments");
    }
    if (ProcStatus.number(pid, "PPid") == ProcessHandle.current().pid()) {
      throw new HostRefusal(
          "process " + pid + " is a child of this JVM", "start it from another process");
    }
    // A tracer is a thread, not a process. This one ends with the injection, and with it any
    // tracing left over.
    FutureTask<Long> injection = new FutureTask<>(() -> injectHere(pid, number, arguments));
    Thread.ofPlatform().name("syscall-injector-" + pid).daemon().start(injection);
    return resultOf(injection);
  }

  private static long injectHere(int pid, long number, long... arguments) {
    List<Integer> heldBack = new ArrayList<>();
    try (Arena arena = Arena.ofConfined()) {
      // Before the stop, to keep it short.
      RemoteAddress instruction = SyscallInstruction.find(pid);
      Tracee tracee = Tracee.seize(pid, arena);
      stop(tracee);
      Registers saved = tracee.registers();
      long savedMask = tracee.signalMask();
      long result;
      try {
        if (!saved.areOf64BitCode()) {
          throw new HostRefusal(
              "process " + pid + " runs 32-bit code", "migrate VMs of a 64-bit VMM only");
        }
        Registers call = saved.copy(arena);
        call.prepareSyscall(instruction, number, arguments);
        tracee.setSignalMask(ALL_SIGNALS_BUT_SIGTRAP);
        tracee.setRegisters(call);
        step(tracee, heldBack);
        result = tracee.registers().syscallResult();
      } catch (RuntimeException e) {
        restoreAfter(e, tracee, saved, savedMask);
        throw e;
      }
      restore(tracee, saved, savedMask);
      return result;
    } finally {
      heldBack.forEach(signal -> Ptrace.kill(pid, signal));
    }
  }

  /** Brings the thread to a stop between two instructions, signals that come first delivered. */
  private static void stop(Tracee tracee) {
    tracee.interrupt();
    while (true) {
      switch (tracee.await(TIMEOUT_NS)) {
        case TraceEvent.EventStop _ -> {
          return;
        }
        case TraceEvent.SignalStop(int signal) -> {
          tracee.interrupt();
          tracee.resume(signal);
        }
        case TraceEvent.Ended _ -> throw tracee.gone();
      }
    }
  }

  /**
   * Executes one instruction. Signals that cannot be blocked and come meanwhile are added to {@code
   * heldBack}.
   */
  private static void step(Tracee tracee, List<Integer> heldBack) {
    while (true) {
      tracee.singleStep();
      switch (awaitCall(tracee)) {
        case TraceEvent.SignalStop(int signal) -> {
          if (signal == Ptrace.SIGTRAP && tracee.isSignalFromKernel()) {
            return;
          }
          heldBack.add(signal);
        }
        // Job control stops the thread before the step or before the trap that ends it: neither is
        // lost.
        case TraceEvent.EventStop _ -> {}
        case TraceEvent.Ended _ -> throw tracee.gone();
      }
    }
  }

  /** Interrupts a call that waits too long: it fails, and the trap of its step follows. */
  private static TraceEvent awaitCall(Tracee tracee) {
    try {
      return tracee.await(TIMEOUT_NS);
    } catch (LinuxException e) {
      if (e.errno() != ETIMEDOUT) {
        throw e;
      }
      tracee.interrupt();
      return tracee.await(TIMEOUT_NS);
    }
  }

  private static void restore(Tracee tracee, Registers saved, long savedMask) {
    tracee.setRegisters(saved);
    tracee.setSignalMask(savedMask);
    tracee.detach();
  }

  /** A failure to restore outweighs the one before: mostly it says that the process is gone. */
  private static void restoreAfter(
      RuntimeException failure, Tracee tracee, Registers saved, long savedMask) {
    try {
      restore(tracee, saved, savedMask);
    } catch (LinuxException e) {
      e.addSuppressed(failure);
      throw e;
    }
  }

  /**
   * Waits for the end even when this thread is interrupted: the process must not be left stopped.
   */
  private static long resultOf(FutureTask<Long> injection) {
    boolean interrupted = false;
    try {
      while (true) {
        try {
          return injection.get();
        } catch (InterruptedException e) {
          interrupted = true;
        } catch (ExecutionException e) {
          switch (e.getCause()) {
            case HostRefusal refusal -> throw refusal;
            case LinuxException failure -> throw failure;
            case null, default -> throw new IllegalStateException("injection failed", e);
          }
        }
      }
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }
}
