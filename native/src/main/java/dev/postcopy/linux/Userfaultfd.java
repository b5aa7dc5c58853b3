package dev.postcopy.linux;

import static dev.postcopy.linux.abi.Errno.EACCES;
import static dev.postcopy.linux.abi.Errno.EAGAIN;
import static dev.postcopy.linux.abi.Errno.EBUSY;
import static dev.postcopy.linux.abi.Errno.EINVAL;
import static dev.postcopy.linux.abi.Errno.ENOENT;
import static dev.postcopy.linux.abi.Errno.ENOSYS;
import static dev.postcopy.linux.abi.Errno.EPERM;

import dev.postcopy.linux.abi.FileCalls;
import dev.postcopy.linux.abi.Syscalls;
import dev.postcopy.linux.abi.Uffd;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * A userfaultfd(2) in MISSING mode: pages of registered ranges that are not there make their reader
 * or writer wait, and whoever holds this descriptor is told and places them. It acts on the process
 * that created it, from whatever process holds it.
 *
 * <p>When the last descriptor of it in any process is closed, waiters go on and read zeros.
 */
public final class Userfaultfd implements AutoCloseable {
  /** What /proc/PID/fd shows for one. */
  public static final String LINK = "anon_inode:[userfaultfd]";

  private static final String DEVICE = "/dev/userfaultfd";

  // Any valid range will do: only the descriptor's state decides whether waking it is an error.
  private static final long PROBE_ADDRESS = 1L << 40;
  private static final long PROBE_LENGTH = 4096;

  private final OwnedFd fd;
  private final boolean reattached;

  private Userfaultfd(OwnedFd fd, boolean reattached) {
    this.fd = fd;
    this.reattached = reattached;
  }

  /**
   * Takes over a descriptor, closing it when it throws: a new one gets its features (tmpfs, thread
   * ids); one that was in use before keeps its registered ranges.
   *
   * @throws HostRefusal when the kernel lacks the features, which came with Linux 4.14
   * @throws IllegalArgumentException when the descriptor blocks: poll(2) gives POLLERR for it
   */
  public static Userfaultfd attach(OwnedFd fd) {
    try {
      int flags =
          LinuxException.orThrow("fcntl", FileCalls.fcntl(fd.number(), FileCalls.F_GETFL, 0));
      if ((flags & FileCalls.O_NONBLOCK) == 0) {
        throw new IllegalArgumentException("a userfaultfd without O_NONBLOCK");
      }
      return new Userfaultfd(fd, wasInUse(fd));
    } catch (RuntimeException e) {
      fd.close();
      throw e;
    }
  }

  /**
   * A userfaultfd on the memory of this process.
   *
   * @throws HostRefusal when this host has none or this process may not use it
   */
  public static Userfaultfd ofThisProcess() {
    return attach(newOfThisProcess());
  }

  /** A userfaultfd on the memory of this process that no features were asked of yet. */
  static OwnedFd newOfThisProcess() {
    long flags = FileCalls.O_CLOEXEC | FileCalls.O_NONBLOCK;
    long result = Syscalls.syscall(Syscalls.SYS_userfaultfd, flags, 0, 0);
    if (result == -EPERM) {
      result = newFromDevice(flags);
    }
    if (result == -ENOSYS) {
      throw new HostRefusal(
          "this kernel has no userfaultfd", "use a kernel built with CONFIG_USERFAULTFD=y");
    }
    return OwnedFd.adopt((int) LinuxException.orThrow("userfaultfd", result));
  }

  private static long newFromDevice(long flags) {
    try (OwnedFd device = OwnedFd.open(DEVICE, FileCalls.O_RDWR)) {
      MemorySegment argument = MemorySegment.ofAddress(flags);
      return FileCalls.ioctl(device.number(), Uffd.USERFAULTFD_IOC_NEW, argument);
    } catch (LinuxException e) {
      if (e.errno() == ENOENT || e.errno() == EACCES || e.errno() == EPERM) {
        throw new HostRefusal(
            "no right to use userfaultfd",
            "run the agent as root or with CAP_SYS_PTRACE, or let it open " + DEVICE);
      }
      throw e;
    }
  }

  private static boolean wasInUse(OwnedFd fd) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment api = arena.allocate(Uffd.API);
      Uffd.API_API.set(api, 0L, Uffd.UFFD_API);
      long features = Uffd.UFFD_FEATURE_MISSING_SHMEM | Uffd.UFFD_FEATURE_THREAD_ID;
      Uffd.API_FEATURES.set(api, 0L, features);
      int result = FileCalls.ioctl(fd.number(), Uffd.UFFDIO_API, api);
      if (result != -EINVAL) {
        LinuxException.orThrow("ioctl(UFFDIO_API)", result);
        return false;
      }
      // EINVAL says "done before" as well as "unknown feature"; other calls fail only in the second
      // case.
      if (rangeCall(fd, Uffd.UFFDIO_WAKE, PROBE_ADDRESS, PROBE_LENGTH) == -EINVAL) {
        throw new HostRefusal(
            "the userfaultfd of this kernel cannot serve tmpfs with thread ids",
            "use Linux 4.14 or later with CONFIG_SHMEM=y");
      }
      return true;
    }
  }

  /** Whether the descriptor was in use before {@link #attach}. */
  public boolean isReattached() {
    return reattached;
  }

  public int number() {
    return fd.number();
  }

  /**
   * Makes missing pages of a range wait for this userfaultfd.
   *
   * @throws HostRefusal when another userfaultfd has some of the range
   * @throws LinuxException EINVAL when some of the range is not mapped or not on tmpfs, ESRCH when
   *     the process is gone
   */
  public void registerMissing(RemoteRange range) {
    register(fd, range, Uffd.UFFDIO_REGISTER_MODE_MISSING);
  }

  static void register(OwnedFd fd, RemoteRange range, long mode) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment register = arena.allocate(Uffd.REGISTER);
      Uffd.REGISTER_START.set(register, 0L, range.start().value());
      Uffd.REGISTER_LEN.set(register, 0L, range.byteLength());
      Uffd.REGISTER_MODE.set(register, 0L, mode);
      int result = FileCalls.ioctl(fd.number(), Uffd.UFFDIO_REGISTER, register);
      if (result == -EBUSY) {
        throw new HostRefusal(
            "another userfaultfd has memory of " + range,
            "end the other migration or agent of this VM, or start a fresh VM");
      }
      LinuxException.orThrow("ioctl(UFFDIO_REGISTER)", result);
    }
  }

  /** Ends the waiting on a range: those who wait go on, and what is missing reads as zeros. */
  public void unregister(RemoteRange range) {
    unregister(fd, range);
  }

  static void unregister(OwnedFd fd, RemoteRange range) {
    LinuxException.orThrow(
        "ioctl(UFFDIO_UNREGISTER)",
        rangeCall(fd, Uffd.UFFDIO_UNREGISTER, range.start().value(), range.byteLength()));
  }

  /**
   * Wakes the threads that wait for a page of a range; they fault again where it is still missing.
   */
  public void wake(RemoteAddress start, long byteLength) {
    LinuxException.orThrow(
        "ioctl(UFFDIO_WAKE)", rangeCall(fd, Uffd.UFFDIO_WAKE, start.value(), byteLength));
  }

  private static int rangeCall(OwnedFd fd, long request, long start, long byteLength) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment range = arena.allocate(Uffd.RANGE);
      Uffd.RANGE_START.set(range, 0L, start);
      Uffd.RANGE_LEN.set(range, 0L, byteLength);
      return FileCalls.ioctl(fd.number(), request, range);
    }
  }

  /**
   * Reads the messages that are there. Never waits: poll(2) saying readable does not promise a
   * message, for another reader or a waker may come first.
   *
   * @return the number of messages in {@code batch}, 0 when there is none
   */
  public int read(FaultBatch batch) {
    batch.filledWith(0);
    long result = FileCalls.tryRead(fd.number(), batch.buffer());
    if (result < 0) {
      result = FileCalls.read(fd.number(), batch.buffer());
    }
    if (result == -EAGAIN) {
      return 0;
    }
    LinuxException.orThrow("read(userfaultfd)", result);
    batch.filledWith((int) (result / Uffd.MSG.byteSize()));
    return batch.size();
  }

  /** A copier for one more thread. */
  public PageCopier newCopier() {
    return new PageCopier(this);
  }

  /** Closes this descriptor only; see the class about the last one. */
  @Override
  public void close() {
    fd.close();
  }
}
