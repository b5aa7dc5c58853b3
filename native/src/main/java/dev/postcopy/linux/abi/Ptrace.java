package dev.postcopy.linux.abi;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.StructLayout;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.VarHandle;
import java.util.stream.Stream;

/** ptrace(2), waitpid(2) and kill(2) as a tracer needs them. */
public final class Ptrace {
  public static final int PTRACE_CONT = 7;
  public static final int PTRACE_SINGLESTEP = 9;
  public static final int PTRACE_GETREGS = 12;
  public static final int PTRACE_SETREGS = 13;
  public static final int PTRACE_DETACH = 17;
  public static final int PTRACE_GETSIGINFO = 0x4202;

  /** Since Linux 3.4. */
  public static final int PTRACE_SEIZE = 0x4206;

  /** Since Linux 3.4. */
  public static final int PTRACE_INTERRUPT = 0x4207;

  /** Since Linux 3.11. */
  public static final int PTRACE_GETSIGMASK = 0x420a;

  /** Since Linux 3.11. */
  public static final int PTRACE_SETSIGMASK = 0x420b;

  public static final int PTRACE_EVENT_STOP = 128;

  public static final int WNOHANG = 1;

  /** Needed to wait for any kind of child, and for a traced process that is not a child. */
  public static final int __WALL = 0x40000000;

  public static final int SIGTRAP = 5;

  /** The selector of 64-bit user code ({@code __USER_CS}, arch/x86/include/asm/segment.h). */
  public static final long USER_CS = 0x33;

  /** {@code sys/user.h}. */
  public static final StructLayout USER_REGS =
      MemoryLayout.structLayout(
              Stream.of(
                      "r15",
                      "r14",
                      "r13",
                      "r12",
                      "rbp",
                      "rbx",
                      "r11",
                      "r10",
                      "r9",
                      "r8",
                      "rax",
                      "rcx",
                      "rdx",
                      "rsi",
                      "rdi",
                      "orig_rax",
                      "rip",
                      "cs",
                      "eflags",
                      "rsp",
                      "ss",
                      "fs_base",
                      "gs_base",
                      "ds",
                      "es",
                      "fs",
                      "gs")
                  .map(JAVA_LONG::withName)
                  .toArray(ValueLayout[]::new))
          .withName("struct user_regs_struct");

  public static final VarHandle REGS_RAX = USER_REGS.varHandle(PathElement.groupElement("rax"));
  public static final VarHandle REGS_ORIG_RAX =
      USER_REGS.varHandle(PathElement.groupElement("orig_rax"));
  public static final VarHandle REGS_RIP = USER_REGS.varHandle(PathElement.groupElement("rip"));
  public static final VarHandle REGS_CS = USER_REGS.varHandle(PathElement.groupElement("cs"));
  public static final VarHandle REGS_RDI = USER_REGS.varHandle(PathElement.groupElement("rdi"));
  public static final VarHandle REGS_RSI = USER_REGS.varHandle(PathElement.groupElement("rsi"));
  public static final VarHandle REGS_RDX = USER_REGS.varHandle(PathElement.groupElement("rdx"));
  public static final VarHandle REGS_R10 = USER_REGS.varHandle(PathElement.groupElement("r10"));
  public static final VarHandle REGS_R8 = USER_REGS.varHandle(PathElement.groupElement("r8"));
  public static final VarHandle REGS_R9 = USER_REGS.varHandle(PathElement.groupElement("r9"));

  /** The head of what PTRACE_GETSIGINFO fills in. */
  public static final StructLayout SIGINFO =
      MemoryLayout.structLayout(
              JAVA_INT.withName("si_signo"),
              JAVA_INT.withName("si_errno"),
              JAVA_INT.withName("si_code"),
              MemoryLayout.paddingLayout(116))
          .withName("siginfo_t");

  public static final VarHandle SI_CODE = SIGINFO.varHandle(PathElement.groupElement("si_code"));

  private static final MethodHandle PTRACE =
      Downcalls.capturingErrno(
          "ptrace",
          FunctionDescriptor.of(JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_LONG, ADDRESS),
          Linker.Option.firstVariadicArg(1));
  private static final MethodHandle WAITPID =
      Downcalls.capturingErrno(
          "waitpid", FunctionDescriptor.of(JAVA_INT, JAVA_INT, ADDRESS, JAVA_INT));
  private static final MethodHandle KILL =
      Downcalls.capturingErrno("kill", FunctionDescriptor.of(JAVA_INT, JAVA_INT, JAVA_INT));

  private Ptrace() {}

  public static long ptrace(int request, int tid, long address, MemorySegment data) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((long) PTRACE.invokeExact(state, request, tid, address, data), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  /** A request whose data is a number: a signal to deliver, or 0. */
  public static long ptrace(int request, int tid, long data) {
    return ptrace(request, tid, 0, MemorySegment.ofAddress(data));
  }

  public static int waitpid(int tid, MemorySegment status, int options) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((int) WAITPID.invokeExact(state, tid, status, options), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  public static int kill(int pid, int signal) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((int) KILL.invokeExact(state, pid, signal), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }
}
