package dev.postcopy.linux;

import dev.postcopy.linux.abi.FileCalls;
import java.lang.foreign.Arena;
import java.util.concurrent.atomic.AtomicBoolean;

/** A file descriptor that is closed once, by its owner. */
public final class OwnedFd implements AutoCloseable {
  private final int number;
  private final AtomicBoolean owned = new AtomicBoolean(true);

  private OwnedFd(int number) {
    this.number = number;
  }

  /**
   * Opens an existing file; O_CLOEXEC is added.
   *
   * @param flags as in open(2), without O_CREAT
   * @throws LinuxException when open(2) fails
   */
  public static OwnedFd open(String path, int flags) {
    try (Arena arena = Arena.ofConfined()) {
      int result = FileCalls.open(arena.allocateFrom(path), flags | FileCalls.O_CLOEXEC);
      return new OwnedFd(LinuxException.orThrow("open(" + path + ")", result));
    }
  }

  /** Takes over a descriptor that nobody else will close. */
  public static OwnedFd adopt(int number) {
    if (number < 0) {
      throw new IllegalArgumentException("not a descriptor: " + number);
    }
    return new OwnedFd(number);
  }

  /**
   * The descriptor.
   *
   * @throws IllegalStateException after it was closed or released: its number may mean another file
   *     by now
   */
  public int number() {
    if (!owned.get()) {
      throw new IllegalStateException("descriptor " + number + " is closed");
    }
    return number;
  }

  /** Gives the descriptor away: the caller closes it, {@link #close} no longer does. */
  public int release() {
    if (!owned.getAndSet(false)) {
      throw new IllegalStateException("descriptor " + number + " is closed");
    }
    return number;
  }

  /**
   * Closes the descriptor the first time. Linux frees the number even when close(2) reports an
   * error.
   */
  @Override
  public void close() {
    if (owned.getAndSet(false)) {
      int _ = FileCalls.close(number);
    }
  }
}
