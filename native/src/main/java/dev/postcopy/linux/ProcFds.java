package dev.postcopy.linux;

import java.io.IOException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
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
    Path directory = Path.of("/proc", Integer.toString(pid), "fd");
    List<Integer> found = new ArrayList<>();
    try (DirectoryStream<Path> links = Files.newDirectoryStream(directory)) {
      for (Path link : links) {
        if (linksTo(link, linkTarget)) {
          found.add(Integer.valueOf(link.getFileName().toString()));
        }
      }
    } catch (DirectoryIteratorException e) {
      throw ProcStatus.failure(pid, directory, Objects.requireNonNull(e.getCause()));
    } catch (IOException e) {
      throw ProcStatus.failure(pid, directory, e);
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
