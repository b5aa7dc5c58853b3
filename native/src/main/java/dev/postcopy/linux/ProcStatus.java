package dev.postcopy.linux;

import dev.postcopy.linux.abi.Errno;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;

/** Files below /proc/PID, and numbers out of /proc/PID/status, proc_pid_status(5). */
final class ProcStatus {
  private ProcStatus() {}

  /**
   * @throws LinuxException ESRCH when there is no such process
   * @throws HostRefusal when the file may not be read
   */
  static List<String> lines(int pid, String file) {
    String path = "/proc/" + pid + "/" + file;
    try {
      return new String(Files.readAllBytes(Path.of(path)), StandardCharsets.UTF_8).lines().toList();
    } catch (NoSuchFileException e) {
      throw new LinuxException("read(" + path + ")", Errno.ESRCH);
    } catch (AccessDeniedException e) {
      throw TraceRights.missing(pid);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + path, e);
    }
  }

  /** The value of a line such as {@code TracerPid:\t0}. */
  static int number(int pid, String key) {
    String prefix = key + ":";
    return lines(pid, "status").stream()
        .filter(line -> line.startsWith(prefix))
        .mapToInt(line -> Integer.parseInt(line.substring(prefix.length()).strip()))
        .findFirst()
        .orElseThrow(() -> new IllegalStateException("no " + key + " for process " + pid));
  }
}
