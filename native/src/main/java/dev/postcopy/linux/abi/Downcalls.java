package dev.postcopy.linux.abi;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.StructLayout;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.VarHandle;
import java.util.NoSuchElementException;
import java.util.stream.Stream;

/** Links C library functions and turns "returned -1, see errno" into {@code -errno}. */
final class Downcalls {
  private static final Linker LINKER = Linker.nativeLinker();
  private static final SymbolLookup C_LIBRARY =
      LINKER.defaultLookup().or(SymbolLookup.loaderLookup());
  private static final StructLayout STATE_LAYOUT = Linker.Option.captureStateLayout();
  private static final VarHandle ERRNO = STATE_LAYOUT.varHandle(PathElement.groupElement("errno"));

  // One buffer per thread: with a shared one, two failing calls would swap their errors.
  private static final ThreadLocal<MemorySegment> STATE =
      ThreadLocal.withInitial(() -> Arena.ofAuto().allocate(STATE_LAYOUT));

  private Downcalls() {}

  /** A handle whose first parameter is the buffer of {@link #state()}. */
  static MethodHandle capturingErrno(
      String function, FunctionDescriptor descriptor, Linker.Option... options) {
    Linker.Option[] all =
        Stream.concat(Stream.of(Linker.Option.captureCallState("errno")), Stream.of(options))
            .toArray(Linker.Option[]::new);
    return LINKER.downcallHandle(address(function), descriptor, all);
  }

  /**
   * A handle that does not tell errno. Unlike one that does, it allocates nothing whoever compiles
   * the call: the linker makes a slice of the buffer of {@link #state()} for each call, which only
   * HotSpot's optimising compiler sees through.
   */
  static MethodHandle plain(
      String function, FunctionDescriptor descriptor, Linker.Option... options) {
    return LINKER.downcallHandle(address(function), descriptor, options);
  }

  private static MemorySegment address(String function) {
    return C_LIBRARY
        .find(function)
        .orElseThrow(() -> new NoSuchElementException("C library without " + function));
  }

  static MemorySegment state() {
    return STATE.get();
  }

  static int result(int returned, MemorySegment state) {
    return returned == -1 ? -errno(state) : returned;
  }

  static long result(long returned, MemorySegment state) {
    return returned == -1 ? -errno(state) : returned;
  }

  private static int errno(MemorySegment state) {
    return (int) ERRNO.get(state, 0L);
  }

  /** A downcall handle declares Throwable but a C function throws nothing. */
  static AssertionError impossible(Throwable thrown) {
    return new AssertionError("a downcall failed before it reached the C library", thrown);
  }
}
