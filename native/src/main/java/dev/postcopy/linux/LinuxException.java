package dev.postcopy.linux;

import dev.postcopy.linux.abi.Errno;

/** A system call failed in a way its caller has no plan for. */
public final class LinuxException extends RuntimeException {
  private final String call;
  private final int errno;

  /**
   * Tells which call failed and how.
   *
   * @param call what was called, as in {@code ioctl(UFFDIO_REGISTER)}
   * @param errno the error number, positive
   */
  public LinuxException(String call, int errno) {
    super("%s: %s (%s)".formatted(call, Errno.name(errno), Errno.describe(errno)));
    this.call = call;
    this.errno = errno;
  }

  public String call() {
    return call;
  }

  /** The error number, positive. */
  public int errno() {
    return errno;
  }

  /** Gives back the result of a raw call, or throws when it is {@code -errno}. */
  public static long orThrow(String call, long result) {
    if (result < 0) {
      throw new LinuxException(call, (int) -result);
    }
    return result;
  }

  /** Gives back the result of a raw call, or throws when it is {@code -errno}. */
  public static int orThrow(String call, int result) {
    if (result < 0) {
      throw new LinuxException(call, -result);
    }
    return result;
  }
}
