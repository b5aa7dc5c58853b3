package dev.postcopy.linux;

import dev.postcopy.linux.abi.Errno;
import dev.postcopy.linux.abi.FileCalls;
import dev.postcopy.linux.abi.Syscalls;
import dev.postcopy.linux.abi.Uffd;

/** Makes and closes a userfaultfd(2) in another process, by system calls that run there. */
public final class InjectedUserfaultfd {

  private static final String DEVICE = HostCheck.USERFAULTFD_DEVICE;

  /** Without O_NONBLOCK poll(2) would report POLLERR; user-mode-only would fail KVM's accesses. */
  private static final long CREATE_FLAGS = FileCalls.O_CLOEXEC | FileCalls.O_NONBLOCK;

  private InjectedUserfaultfd() {}

  /** Hands a descriptor to the process, and has it closed there again. */
  public interface HandOver {
    void give(int descriptor);

    void takeBack();
  }

  /**
   * Makes a userfaultfd in a process that acts on its memory. A process without CAP_SYS_PTRACE may
   * not ask for kernel-mode faults (userfaultfd(2)), unless somebody who may open /dev/userfaultfd
   * hands it over.
   *
   * @param device hands over /dev/userfaultfd, where that is needed
   * @return its number there
   * @throws HostRefusal where this host or this process does not allow it; nothing is left behind
   */
  public static int create(int pid, HandOver device) {
    long made = SyscallInjector.inject(pid, Syscalls.SYS_userfaultfd, CREATE_FLAGS);
    if (made == -Errno.EPERM) {
      made = createFromDevice(pid, device);
    }
    if (made < 0) {
      throw refusal((int) -made);
    }
    return (int) made;
  }

  /**
   * Closes a descriptor of a process, in that process.
   *
   * @return 0 or {@code -errno}
   */
  public static int close(int pid, int number) {
    return (int) SyscallInjector.inject(pid, Syscalls.SYS_close, number);
  }

  private static HostRefusal refusal(int errno) {
    return new HostRefusal(
        "QEMU cannot create a userfaultfd: " + Errno.name(errno),
        errno == Errno.ENOSYS
            ? "run a kernel with CONFIG_USERFAULTFD"
            : "run the agent as root, on a kernel that has /dev/userfaultfd (Linux 6.1)");
  }

  private static long createFromDevice(int pid, HandOver handOver) {
    HostCheck.requireUserfaultfd();
    try (OwnedFd device = HostCheck.openUserfaultfdDevice()) {
      handOver.give(device.number());
    }
    try {
      int device =
          ProcFds.findByLink(pid, DEVICE)
              .orElseThrow(
                  () ->
                      new HostRefusal(
                          "QEMU did not take " + DEVICE, "check that its QMP allows getfd"));
      return SyscallInjector.inject(
          pid, Syscalls.SYS_ioctl, device, Uffd.USERFAULTFD_IOC_NEW, CREATE_FLAGS);
    } finally {
      handOver.takeBack();
    }
  }
}
