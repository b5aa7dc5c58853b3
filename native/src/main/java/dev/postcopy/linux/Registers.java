package dev.postcopy.linux;

import dev.postcopy.linux.abi.Ptrace;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;

/** The general registers of a stopped thread. */
final class Registers {
  // The order in which a system call takes its arguments, syscall(2).
  private static final String[] ARGUMENTS = {"rdi", "rsi", "rdx", "r10", "r8", "r9"};
  static final int MAX_ARGUMENTS = ARGUMENTS.length;

  private final MemorySegment values;

  Registers(SegmentAllocator allocator) {
    this.values = allocator.allocate(Ptrace.USER_REGS);
  }

  Registers copy(SegmentAllocator allocator) {
    Registers copy = new Registers(allocator);
    copy.values.copyFrom(values);
    return copy;
  }

  MemorySegment values() {
    return values;
  }

  long get(String name) {
    return values.get(ValueLayout.JAVA_LONG, offset(name));
  }

  void set(String name, long value) {
    values.set(ValueLayout.JAVA_LONG, offset(name), value);
  }

  /** Sets the thread up to execute the {@code syscall} instruction at an address. */
  void prepareSyscall(RemoteAddress instruction, long number, long... arguments) {
    set("rip", instruction.value());
    set("rax", number);
    // With a system call's number here the kernel would treat rax as that call's result and perhaps
    // restart it.
    set("orig_rax", -1);
    for (int i = 0; i < arguments.length; i++) {
      set(ARGUMENTS[i], arguments[i]);
    }
  }

  private static long offset(String name) {
    return Ptrace.USER_REGS.byteOffset(PathElement.groupElement(name));
  }
}
