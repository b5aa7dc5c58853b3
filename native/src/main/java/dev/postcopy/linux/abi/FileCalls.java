package dev.postcopy.linux.abi;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/** Calls on file descriptors, each as in its manual page of section 2. */
public final class FileCalls {
  public static final int O_RDONLY = 0;
  public static final int O_RDWR = 2;
  public static final int O_NONBLOCK = 0x800;
  public static final int O_CLOEXEC = 0x80000;

  public static final int F_GETFL = 3;

  /** Since Linux 3.1, on tmpfs since 3.8. */
  public static final int SEEK_DATA = 3;

  /** Since Linux 3.1, on tmpfs since 3.8. */
  public static final int SEEK_HOLE = 4;

  private static final int SEEK_END = 2;

  public static final int FALLOC_FL_KEEP_SIZE = 1;

  /** Since Linux 2.6.38; must come with {@link #FALLOC_FL_KEEP_SIZE}. */
  public static final int FALLOC_FL_PUNCH_HOLE = 2;

  private static final MethodHandle OPEN =
      Downcalls.capturingErrno(
          "open",
          FunctionDescriptor.of(JAVA_INT, ADDRESS, JAVA_INT, JAVA_INT),
          Linker.Option.firstVariadicArg(2));
  private static final MethodHandle CLOSE =
      Downcalls.capturingErrno("close", FunctionDescriptor.of(JAVA_INT, JAVA_INT));
  private static final MethodHandle READ =
      Downcalls.capturingErrno(
          "read", FunctionDescriptor.of(JAVA_LONG, JAVA_INT, ADDRESS, JAVA_LONG));
  private static final MethodHandle TRY_READ =
      Downcalls.plain("read", FunctionDescriptor.of(JAVA_LONG, JAVA_INT, ADDRESS, JAVA_LONG));
  private static final MethodHandle IOCTL =
      Downcalls.capturingErrno(
          "ioctl",
          FunctionDescriptor.of(JAVA_INT, JAVA_INT, JAVA_LONG, ADDRESS),
          Linker.Option.firstVariadicArg(2));
  private static final MethodHandle TRY_IOCTL =
      Downcalls.plain(
          "ioctl",
          FunctionDescriptor.of(JAVA_INT, JAVA_INT, JAVA_LONG, ADDRESS),
          Linker.Option.firstVariadicArg(2));
  private static final MethodHandle FCNTL =
      Downcalls.capturingErrno(
          "fcntl",
          FunctionDescriptor.of(JAVA_INT, JAVA_INT, JAVA_INT, JAVA_LONG),
          Linker.Option.firstVariadicArg(2));
  private static final MethodHandle FALLOCATE =
      Downcalls.capturingErrno(
          "fallocate", FunctionDescriptor.of(JAVA_INT, JAVA_INT, JAVA_INT, JAVA_LONG, JAVA_LONG));
  private static final MethodHandle FTRUNCATE =
      Downcalls.capturingErrno("ftruncate", FunctionDescriptor.of(JAVA_INT, JAVA_INT, JAVA_LONG));
  private static final MethodHandle LSEEK =
      Downcalls.capturingErrno(
          "lseek", FunctionDescriptor.of(JAVA_LONG, JAVA_INT, JAVA_LONG, JAVA_INT));
  private static final MethodHandle TRY_LSEEK =
      Downcalls.plain("lseek", FunctionDescriptor.of(JAVA_LONG, JAVA_INT, JAVA_LONG, JAVA_INT));

  private FileCalls() {}

  /** open(2) of an existing file: flags must not ask for creation. */
  public static int open(MemorySegment path, int flags) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((int) OPEN.invokeExact(state, path, flags, 0), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  public static int close(int fd) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((int) CLOSE.invokeExact(state, fd), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  /** Bytes read into the whole of {@code buffer}, or {@code -errno}. */
  public static long read(int fd, MemorySegment buffer) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((long) READ.invokeExact(state, fd, buffer, buffer.byteSize()), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  /** {@link #read} that allocates nothing and does not say why it failed: bytes read, or -1. */
  public static long tryRead(int fd, MemorySegment buffer) {
    try {
      return (long) TRY_READ.invokeExact(fd, buffer, buffer.byteSize());
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  public static int ioctl(int fd, long request, MemorySegment argument) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((int) IOCTL.invokeExact(state, fd, request, argument), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  /** {@link #ioctl} that allocates nothing and does not say why it failed: 0 or more, or -1. */
  public static int tryIoctl(int fd, long request, MemorySegment argument) {
    try {
      return (int) TRY_IOCTL.invokeExact(fd, request, argument);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  public static int fcntl(int fd, int command, long argument) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((int) FCNTL.invokeExact(state, fd, command, argument), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  public static int fallocate(int fd, int mode, long byteOffset, long byteLength) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result(
          (int) FALLOCATE.invokeExact(state, fd, mode, byteOffset, byteLength), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  public static int ftruncate(int fd, long byteLength) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((int) FTRUNCATE.invokeExact(state, fd, byteLength), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  /** How long a file is, in bytes, by lseek(2); allocates nothing. -1 where it failed. */
  public static long tryLength(int fd) {
    try {
      return (long) TRY_LSEEK.invokeExact(fd, 0L, SEEK_END);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }

  public static long lseek(int fd, long byteOffset, int whence) {
    MemorySegment state = Downcalls.state();
    try {
      return Downcalls.result((long) LSEEK.invokeExact(state, fd, byteOffset, whence), state);
    } catch (Throwable t) {
      throw Downcalls.impossible(t);
    }
  }
}
