package dev.postcopy.linux;

import dev.postcopy.linux.abi.Errno;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.OptionalInt;

/** The open descriptors of a process, proc_pid_fd(5). */
public final class ProcFds {
  private ProcFds() {}

  /** The lowest descriptor whose link reads {@code linkTarget}. */
  public static OptionalInt findByLink(int pid, String linkTarget) {
    return listByLink(pid, linkTarget).stream().mapToInt(Integer::intValue).findFirst();
  }

  /**
   * All descriptors whose link reads {@code linkTarget}, such as {@code anon_inode:[userfaultfd]},
   * lowest first.
   *
   * @throws LinuxException ESRCH when there is no such process
   * @throws HostRefusal when this process may not trace that one
   */
  public static List<Integer> listByLink(int pid, String linkTarget) {
    Path directory = Path.of("/proc/" + pid + "/fd");
    List<Integer> found = new ArrayList<>();
    try (DirectoryStream<Path> links = Files.newDirectoryStream(directory)) {
      for (Path link : links) {
        if (linksTo(link, linkTarget)) {
          found.add(Integer.valueOf(link.getFileName().toString()));
        }
      }
    } catch (NoSuchFileException e) {
      throw new LinuxException("opendir(" + directory + ")", Errno.ESRCH);
    } catch (AccessDeniedException e) {
      throw TraceRights.missing(pid);
    } catch (IOException | DirectoryIteratorException e) {
      throw new UncheckedIOException(
          "cannot list " + directory, e instanceof IOException io ? io : new IOException(e));
    }
    Collections.sort(found);
    return found;
  }

  private static boolean linksTo(Path link, String target) throws IOException {
    try {
      return Files.readSymbolicLink(link).toString().equals(target);
    } catch (NoSuchFileException e) {
      // Closed since the directory was read.
      return false;
    }
  }
}
