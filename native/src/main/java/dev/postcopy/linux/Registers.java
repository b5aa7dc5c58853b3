package dev.postcopy.linux;

import dev.postcopy.linux.abi.Ptrace;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.invoke.VarHandle;
import java.util.List;

/** The general registers of a stopped thread. */
final class Registers {
  // The order in which a system call takes its arguments, syscall(2).
  private static final List<VarHandle> ARGUMENTS =
      List.of(
          Ptrace.REGS_RDI,
          Ptrace.REGS_RSI,
          Ptrace.REGS_RDX,
          Ptrace.REGS_R10,
          Ptrace.REGS_R8,
          Ptrace.REGS_R9);
  static final int MAX_ARGUMENTS = ARGUMENTS.size();

  private final MemorySegment values;

  Registers(SegmentAllocator allocator) {
    this.values = allocator.allocate(Ptrace.USER_REGS);
  }

  Registers copy(SegmentAllocator allocator) {
    Registers copy = new Registers(allocator);
    copy.values.copyFrom(values);
    return copy;
  }

  /** As PTRACE_GETREGS and PTRACE_SETREGS take them. */
  MemorySegment values() {
    return values;
  }

  boolean areOf64BitCode() {
    return (long) Ptrace.REGS_CS.get(values, 0L) == Ptrace.USER_CS;
  }

  /** Sets the thread up to execute the {@code syscall} instruction at an address. */
  void prepareSyscall(RemoteAddress instruction, long number, long... arguments) {
    Ptrace.REGS_RIP.set(values, 0L, instruction.value());
    Ptrace.REGS_RAX.set(values, 0L, number);
    // With the number of an interrupted call in it the kernel would restart that call instead.
    Ptrace.REGS_ORIG_RAX.set(values, 0L, -1L);
    for (int i = 0; i < arguments.length; i++) {
      ARGUMENTS.get(i).set(values, 0L, arguments[i]);
    }
  }

  long syscallResult() {
    return (long) Ptrace.REGS_RAX.get(values, 0L);
  }
}
