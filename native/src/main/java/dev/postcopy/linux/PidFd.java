package dev.postcopy.linux;

import static dev.postcopy.linux.abi.Errno.EPERM;

import dev.postcopy.linux.abi.Poll;
import dev.postcopy.linux.abi.Syscalls;

/** A handle on one process that its pid's reuse cannot redirect, pidfd_open(2). */
public final class PidFd implements AutoCloseable {
  private final int pid;
  private final OwnedFd fd;

  private PidFd(int pid, OwnedFd fd) {
    this.pid = pid;
    this.fd = fd;
  }

  /**
   * Opens a handle on a process.
   *
   * @throws LinuxException ESRCH when there is no such process
   */
  public static PidFd open(int pid) {
    long fd = Syscalls.syscall(Syscalls.SYS_pidfd_open, pid, 0, 0);
    return new PidFd(
        pid, OwnedFd.adopt((int) LinuxException.orThrow("pidfd_open(" + pid + ")", fd)));
  }

  public int number() {
    return fd.number();
  }

  /**
   * Duplicates a descriptor of the process into this one, pidfd_getfd(2); both share one open file.
   *
   * @throws LinuxException EBADF when the process has no such descriptor, ESRCH when it is gone
   * @throws HostRefusal when this process may not trace that one
   */
  public OwnedFd takeDescriptor(int remoteFd) {
    long result = Syscalls.syscall(Syscalls.SYS_pidfd_getfd, fd.number(), remoteFd, 0);
    if (result == -EPERM) {
      throw TraceRights.missing(pid);
    }
    return OwnedFd.adopt((int) LinuxException.orThrow("pidfd_getfd(" + remoteFd + ")", result));
  }

  /** Whether the process has ended, reaped or not. Does not wait. */
  public boolean hasExited() {
    return exitsWithin(0);
  }

  /** Waits for the process's end, reaped or not; returns whether it came. */
  public boolean exitsWithin(int timeoutMillis) {
    return LinuxException.orThrow("poll(pidfd)", Poll.poll(fd.number(), Poll.POLLIN, timeoutMillis))
        != 0;
  }

  @Override
  public void close() {
    fd.close();
  }
}
