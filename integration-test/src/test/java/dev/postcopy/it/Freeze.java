package dev.postcopy.it;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.stream.Stream;

/** Stops a process where it is, as a host does that is overloaded. */
final class Freeze {

  private static final Duration TIMEOUT = Duration.ofSeconds(10);

  private Freeze() {}

  /**
   * Returns when no thread of the process runs any more: kill(2) returns before that, and another
   * processor may take the process a good way on.
   */
  static void freeze(Process process) {
    signal("STOP", process);
    long deadline = System.nanoTime() + TIMEOUT.toNanos();
    while (!stands(process)) {
      if (System.nanoTime() > deadline) {
        throw new AssertionError("process " + process.pid() + " goes on in spite of SIGSTOP");
      }
      QmpProbe.sleep(Duration.ofMillis(1));
    }
  }

  static void thaw(Process process) {
    signal("CONT", process);
  }

  static void signal(String name, Process process) {
    TestEnvironment.run(Path.of("/"), 10, "kill", "-" + name, Long.toString(process.pid()));
  }

  private static boolean stands(Process process) {
    try (Stream<Path> threads = Files.list(Path.of("/proc/" + process.pid() + "/task"))) {
      return threads.allMatch(Freeze::threadStands);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** By its state in proc_pid_stat(5), which is behind the name in parentheses. */
  private static boolean threadStands(Path thread) {
    try {
      String stat = Files.readString(thread.resolve("stat"));
      return stat.charAt(stat.lastIndexOf(')') + 2) == 'T';
    } catch (IOException e) {
      // It has ended since it was listed.
      return true;
    }
  }
}
