package dev.postcopy.linux;

import static dev.postcopy.linux.abi.Errno.EINVAL;

import dev.postcopy.linux.abi.FileCalls;
import dev.postcopy.linux.abi.Uffd;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;

/**
 * A userfaultfd(2) in WP mode whose protection the kernel lifts by itself: who writes to a page
 * goes on at once, nobody is told, and {@link Pagemap} finds the page later. It acts on the process
 * that created it, from whatever process holds it. Needs Linux 6.7.
 *
 * <p>When the last descriptor of it in any process is closed, the protection is gone.
 */
public final class WriteWatch implements AutoCloseable {

  private static final long FEATURES =
      Uffd.UFFD_FEATURE_WP_ASYNC
          | Uffd.UFFD_FEATURE_WP_UNPOPULATED
          | Uffd.UFFD_FEATURE_WP_HUGETLBFS_SHMEM;

  private final OwnedFd fd;

  private WriteWatch(OwnedFd fd) {
    this.fd = fd;
  }

  /**
   * Whether this host can watch writes, by trying.
   *
   * @return why it cannot; empty where it can
   */
  public static Optional<String> whyNot() {
    try {
      open(Userfaultfd.newOfThisProcess()).close();
      return Optional.empty();
    } catch (HostRefusal e) {
      return Optional.of(e.reason());
    }
  }

  /**
   * Takes over a new descriptor, closing it when it throws.
   *
   * @throws HostRefusal when the kernel lacks the features, which came with Linux 6.7
   */
  public static WriteWatch open(OwnedFd fd) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment api = arena.allocate(Uffd.API);
      Uffd.API_API.set(api, 0L, Uffd.UFFD_API);
      Uffd.API_FEATURES.set(api, 0L, FEATURES);
      int result = FileCalls.ioctl(fd.number(), Uffd.UFFDIO_API, api);
      if (result == -EINVAL) {
        throw new HostRefusal(
            "this kernel cannot watch writes (UFFD_FEATURE_WP_ASYNC)", "use Linux 6.7 or later");
      }
      LinuxException.orThrow("ioctl(UFFDIO_API)", result);
      return new WriteWatch(fd);
    } catch (RuntimeException e) {
      fd.close();
      throw e;
    }
  }

  /** Takes over a descriptor that is in use, as {@link #findIn} finds it. */
  public static WriteWatch retake(OwnedFd fd) {
    return new WriteWatch(fd);
  }

  /**
   * The descriptors of a process that are watches such as this: nothing else asks the kernel for
   * the same features.
   *
   * @throws LinuxException ESRCH when there is no such process
   * @throws HostRefusal when this process may not trace that one
   */
  public static List<Integer> findIn(int pid) {
    return ProcFds.listByLink(pid, Userfaultfd.LINK).stream()
        .filter(number -> hasFeatures(pid, number))
        .toList();
  }

  /** fs/userfaultfd.c shows "API:", and behind it the API, the features asked for, and all. */
  private static boolean hasFeatures(int pid, int number) {
    return ProcStatus.lines(pid, "fdinfo/" + number).stream()
        .filter(line -> line.startsWith("API:"))
        .map(line -> line.split(":", -1))
        .anyMatch(
            fields ->
                fields.length == 4
                    && (Long.parseLong(fields[2].strip(), 16) & FEATURES) == FEATURES);
  }

  /**
   * Watches a range. Pages count as written until {@link Pagemap#takeWritten} was called.
   *
   * @throws HostRefusal when another userfaultfd has some of the range
   * @throws LinuxException EINVAL when some of the range is not mapped or not on tmpfs, ESRCH when
   *     the process is gone
   */
  public void register(RemoteRange range) {
    Userfaultfd.register(fd, range, Uffd.UFFDIO_REGISTER_MODE_WP);
  }

  /** Watches a range no more. */
  public void unregister(RemoteRange range) {
    Userfaultfd.unregister(fd, range);
  }

  /** Closes this descriptor only; see the class about the last one. */
  @Override
  public void close() {
    fd.close();
  }
}
