package dev.postcopy.cli;

import dev.postcopy.daemon.Migration;
import dev.postcopy.daemon.MigrationMeter;
import dev.postcopy.metrics.Outcome;
import java.io.Console;
import java.io.PrintStream;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/** One line on a terminal that says how far a migration is; nothing elsewhere. */
public final class LiveView {

  private static final int WIDTH = 24;
  private static final int REFRESH_MILLIS = 250;
  private static final String CLEAR_LINE = "\r\u001b[K";

  private final PrintStream out;
  private final boolean terminal = onTerminal();
  private boolean shown;

  public LiveView(PrintStream out) {
    this.out = out;
  }

  @SuppressWarnings("SystemConsoleNull") // its own document allows null, whatever today's JDK does
  private static boolean onTerminal() {
    Console console = System.console();
    return console != null && console.isTerminal();
  }

  /** Replaces the line. */
  public void show(JsonNode status) {
    if (terminal) {
      out.print(CLEAR_LINE + line(status));
      out.flush();
      shown = true;
    }
  }

  /** Leaves the line behind. */
  public void end() {
    if (shown) {
      out.println();
      shown = false;
    }
  }

  /** Runs a migration of this process on this thread, and shows it meanwhile. */
  public Outcome during(Migration migration) {
    if (!terminal) {
      return migration.run();
    }
    MigrationMeter meter = new MigrationMeter(System.nanoTime());
    Thread watcher = Thread.ofPlatform().daemon().name("view").start(() -> watch(migration, meter));
    try {
      return migration.run();
    } finally {
      watcher.interrupt();
      join(watcher);
      end();
    }
  }

  private void watch(Migration migration, MigrationMeter meter) {
    try {
      while (true) {
        Thread.sleep(REFRESH_MILLIS);
        meter.sample(migration.progress(), System.nanoTime());
        show(meter.toJson());
      }
    } catch (InterruptedException e) {
      // It has ended.
    }
  }

  private static void join(Thread thread) {
    try {
      thread.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** What a status says, in one line. */
  public static String line(JsonNode status) {
    StringBuilder line = new StringBuilder();
    if (status.has("vm")) {
      line.append(status.path("vm").asString()).append("  ");
    }
    if (status.path("ended").asBoolean(false)) {
      JsonNode report = status.path("report");
      line.append(report.path("status").asString());
      if (report.has("reason")) {
        line.append(": ").append(report.path("reason").asString());
      }
      return line.toString();
    }
    line.append(status.path("phase").asString());
    long all = status.path("all_pages").asLong();
    if (all > 0) {
      long done = status.path("done_pages").asLong();
      int filled = (int) (WIDTH * done / all);
      line.append(
          "  [%s%s] %d %%".formatted(bar('#', filled), bar('.', WIDTH - filled), 100 * done / all));
      line.append(
          "  %.0f MiB/s  %d faults/s"
              .formatted(
                  status.path("bytes_per_second").asLong() / 1048576.0,
                  status.path("faults_per_second").asLong()));
      long latencyMicros = status.path("latency_us").asLong();
      if (latencyMicros > 0) {
        line.append("  %.2f ms".formatted(latencyMicros / 1000.0));
      }
      if (status.has("seconds_left")) {
        line.append("  %d s left".formatted(status.path("seconds_left").asLong()));
      }
    }
    return line.toString();
  }

  private static String bar(char of, int length) {
    return Character.toString(of).repeat(length);
  }

  /**
   * Shows what a daemon answers until the migration has ended.
   *
   * @return the last status; null where the daemon ended first
   */
  public @Nullable JsonNode follow(Supplier<@Nullable JsonNode> answers) {
    try {
      for (JsonNode status = answers.get(); status != null; status = answers.get()) {
        show(status);
        if (status.path("ended").asBoolean(false)) {
          return status;
        }
      }
      return null;
    } finally {
      end();
    }
  }
}
