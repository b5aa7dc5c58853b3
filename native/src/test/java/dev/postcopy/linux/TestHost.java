package dev.postcopy.linux;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;

/** What a test needs of its host. A lack is a skip that names it, and in CI (CI set) a failure. */
public final class TestHost {
  private TestHost() {}

  /** Goes on only when {@code present}; {@code what} is missing otherwise. */
  public static void require(boolean present, String what) {
    if (present) {
      return;
    }
    String message = "this host lacks " + what;
    if (System.getenv("CI") != null) {
      throw new AssertionError(message);
    }
    Assumptions.abort(message);
  }

  /** Root, for ptrace, /proc/PID/map_files and userfaultfd. */
  public static void requireRoot() {
    require("root".equals(System.getProperty("user.name")), "root privilege");
  }

  /** A usable userfaultfd. */
  public static void requireUserfaultfd() {
    try {
      HostCheck.requireUserfaultfd();
    } catch (HostRefusal e) {
      require(false, "userfaultfd: " + e.getMessage());
    }
  }

  /** Whether a program can be found on the PATH. */
  public static boolean onPath(String program) {
    return Stream.of(System.getenv().getOrDefault("PATH", "").split(File.pathSeparator, -1))
        .anyMatch(directory -> Files.isExecutable(Path.of(directory, program)));
  }
}
