package dev.postcopy.linux;

import dev.postcopy.linux.abi.Errno;
import dev.postcopy.linux.abi.FileCalls;

/** What a host must have, checked before anything is touched. */
public final class HostCheck {
  private static final KernelVersion OLDEST = new KernelVersion(5, 11);

  /** Since Linux 6.1. */
  public static final String USERFAULTFD_DEVICE = "/dev/userfaultfd";

  /** Bit 19, linux/capability.h. */
  private static final long CAP_SYS_PTRACE = 1L << 19;

  private HostCheck() {}

  /**
   * Checks kernel and architecture: pidfd_getfd came with Linux 5.6, the rules of who may use
   * userfaultfd with 5.11.
   *
   * @throws HostRefusal when one of them will not do
   */
  public static void requireKernel() {
    requireKernel(KernelVersion.current(), System.getProperty("os.arch", ""));
  }

  static void requireKernel(KernelVersion version, String architecture) {
    if (!architecture.equals("amd64")) {
      throw new HostRefusal("this is a host of type " + architecture, "use an x86-64 host");
    }
    if (version.compareTo(OLDEST) < 0) {
      throw new HostRefusal("this kernel is Linux " + version, "use Linux " + OLDEST + " or later");
    }
  }

  /**
   * Checks that this process can have a userfaultfd that serves tmpfs, by making one.
   *
   * @throws HostRefusal when it cannot
   */
  public static void requireUserfaultfd() {
    requireKernel();
    Userfaultfd.ofThisProcess().close();
  }

  /**
   * Checks that this process may trace another one with ptrace(2), without doing so: taking a
   * descriptor of it asks for the same right (pidfd_getfd(2)).
   *
   * @throws HostRefusal when it may not, or another one does
   * @throws LinuxException ESRCH when there is no such process
   */
  public static void requireTraceable(int pid) {
    int tracerPid = ProcStatus.number(pid, "TracerPid");
    if (tracerPid != 0) {
      throw TraceRights.otherTracer(pid, tracerPid);
    }
    try (PidFd process = PidFd.open(pid);
        OwnedFd _ = process.takeDescriptor(0)) {
      // That it can be taken is all.
    } catch (LinuxException e) {
      // Asked for behind the right (kernel/pid.c): a process without a standard input is as good.
      if (e.errno() != Errno.EBADF) {
        throw e;
      }
    }
  }

  /**
   * Checks that a userfaultfd can be made in another process: by itself where it has
   * CAP_SYS_PTRACE, else by way of {@link #USERFAULTFD_DEVICE} (userfaultfd(2)).
   *
   * @return by which of the two
   * @throws HostRefusal when neither is possible
   */
  public static String requireUserfaultfdIn(int pid) {
    if ((ProcStatus.mask(pid, "CapEff") & CAP_SYS_PTRACE) != 0) {
      return "userfaultfd(2), which this process may call";
    }
    requireUserfaultfd();
    openUserfaultfdDevice().close();
    return USERFAULTFD_DEVICE;
  }

  /**
   * Opens the device that makes userfaultfds for those who may not call userfaultfd(2).
   *
   * @throws HostRefusal when it is not there, or may not be used
   */
  public static OwnedFd openUserfaultfdDevice() {
    try {
      return OwnedFd.open(USERFAULTFD_DEVICE, FileCalls.O_RDWR);
    } catch (LinuxException e) {
      throw new HostRefusal(
          "cannot open " + USERFAULTFD_DEVICE + ": " + Errno.name(e.errno()),
          "run the agent as root, on a kernel that has it (Linux 6.1)");
    }
  }
}
