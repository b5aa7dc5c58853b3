package dev.postcopy.linux;

import dev.postcopy.linux.abi.Errno;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/** Reads files below /proc/PID, proc_pid_status(5) above all. */
final class ProcStatus {
  private ProcStatus() {}

  /**
   * The lines of a file in /proc/PID.
   *
   * @throws LinuxException ESRCH when the process is gone
   * @throws HostRefusal when the file may not be read
   */
  static List<String> lines(int pid, String file) {
    Path path = Path.of("/proc", Integer.toString(pid), file);
    try {
      return read(path);
    } catch (IOException e) {
      throw failure(pid, path, e);
    }
  }

  /** The value of a line of /proc/PID/status such as {@code TracerPid:\t0}. */
  static int number(int pid, String key) {
    return value(lines(pid, "status"), key)
        .map(Integer::parseInt)
        .orElseThrow(() -> new IllegalStateException("no " + key + " for process " + pid));
  }

  /** The value of a line of /proc/PID/status such as {@code CapEff:\t000001ffffffffff}. */
  static long mask(int pid, String key) {
    return value(lines(pid, "status"), key)
        .map(hex -> Long.parseUnsignedLong(hex, 16))
        .orElseThrow(() -> new IllegalStateException("no " + key + " for process " + pid));
  }

  /** What it means that a file of a process cannot be read. */
  static RuntimeException failure(int pid, Path path, IOException failure) {
    if (hasEnded(pid)) {
      return new LinuxException("read(" + path + ")", Errno.ESRCH);
    }
    if (failure instanceof AccessDeniedException) {
      return TraceRights.missing(pid);
    }
    return new UncheckedIOException("cannot read " + path, failure);
  }

  /** Whether a process is gone, or has lost its memory on the way there. */
  static boolean hasEnded(int pid) {
    try {
      List<String> status = read(Path.of("/proc", Integer.toString(pid), "status"));
      return value(status, "VmSize").isEmpty();
    } catch (IOException e) {
      return true;
    }
  }

  private static List<String> read(Path path) throws IOException {
    return new String(Files.readAllBytes(path), StandardCharsets.UTF_8).lines().toList();
  }

  private static Optional<String> value(List<String> lines, String key) {
    String prefix = key + ":";
    return lines.stream()
        .filter(line -> line.startsWith(prefix))
        .map(line -> line.substring(prefix.length()).strip())
        .findFirst();
  }
}
