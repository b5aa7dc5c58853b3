package dev.postcopy.linux.abi;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** syscall(2) and the x86-64 numbers ({@code asm/unistd_64.h}) that have no wrapper everywhere. */
public final class Syscalls {
  public static final long SYS_close = 3;
  public static final long SYS_ioctl = 16;
  public static final long SYS_getpid = 39;

  /** Since Linux 3.14. */
  public static final long SYS_sched_setattr = 314;

  /** Since Linux 4.3. */
  public static final long SYS_userfaultfd = 323;

  /** Since Linux 5.3. */
  public static final long SYS_pidfd_open = 434;

  /** Since Linux 5.6. */
  public static final long SYS_pidfd_getfd = 438;

  private static final MethodHandle SYSCALL =
      Downcalls.capturingErrno(
          "syscall",
          FunctionDescriptor.of(JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG),
          Linker.Option.firstVariadicArg(1));

  private Syscalls() {}

  /** A system call of at most three arguments in this process. */
  public static long syscall(long number, long first, long second, long third) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result(
          (long) SYSCALL.invokeExact(state, number, first, second, third), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }
}
