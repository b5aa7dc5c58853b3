package dev.postcopy.linux.abi;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** Calls on the mappings of this process, each as in its manual page of section 2. */
public final class MemoryCalls {
  public static final int PROT_READ = 1;
  public static final int PROT_WRITE = 2;
  public static final int MAP_SHARED = 1;
  public static final int MADV_DONTDUMP = 16;
  public static final int MFD_CLOEXEC = 1;

  private static final MethodHandle MMAP =
      Downcalls.capturingErrno(
          "mmap",
          FunctionDescriptor.of(
              JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_LONG));
  private static final MethodHandle MUNMAP =
      Downcalls.capturingErrno("munmap", FunctionDescriptor.of(JAVA_INT, JAVA_LONG, JAVA_LONG));
  private static final MethodHandle MADVISE =
      Downcalls.capturingErrno(
          "madvise", FunctionDescriptor.of(JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_INT));
  private static final MethodHandle MINCORE =
      Downcalls.capturingErrno(
          "mincore", FunctionDescriptor.of(JAVA_INT, JAVA_LONG, JAVA_LONG, ADDRESS));
  private static final MethodHandle TRY_MINCORE =
      Downcalls.plain("mincore", FunctionDescriptor.of(JAVA_INT, JAVA_LONG, JAVA_LONG, ADDRESS));
  private static final MethodHandle MEMFD_CREATE =
      Downcalls.capturingErrno("memfd_create", FunctionDescriptor.of(JAVA_INT, ADDRESS, JAVA_INT));
  private static final MethodHandle MEMCPY =
      Downcalls.plain("memcpy", FunctionDescriptor.of(JAVA_LONG, ADDRESS, JAVA_LONG, JAVA_LONG));

  private MemoryCalls() {}

  /** mmap(2) at an address of the kernel's choice, which is returned. */
  public static long mmap(long byteLength, int protection, int flags, int fd, long byteOffset) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result(
          (long) MMAP.invokeExact(state, 0L, byteLength, protection, flags, fd, byteOffset), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  public static int munmap(long address, long byteLength) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((int) MUNMAP.invokeExact(state, address, byteLength), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  public static int madvise(long address, long byteLength, int advice) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((int) MADVISE.invokeExact(state, address, byteLength, advice), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  public static int mincore(long address, long byteLength, MemorySegment vector) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((int) MINCORE.invokeExact(state, address, byteLength, vector), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  /** {@link #mincore} that allocates nothing and does not say why it failed: 0 or -1. */
  public static int tryMincore(long address, long byteLength, MemorySegment vector) {
    try {
      return (int) TRY_MINCORE.invokeExact(address, byteLength, vector);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  /** Since Linux 3.17. */
  public static int memfd_create(MemorySegment name, int flags) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((int) MEMFD_CREATE.invokeExact(state, name, flags), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  /**
   * memcpy(3) from a raw address. The calling thread is in native state meanwhile, so a page fault
   * that takes long does not keep the JVM from its safepoints.
   */
  public static void memcpy(MemorySegment destination, long sourceAddress, long byteLength) {
    try {
      long returned = (long) MEMCPY.invokeExact(destination, sourceAddress, byteLength);
      assert returned == destination.address();
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }
}
