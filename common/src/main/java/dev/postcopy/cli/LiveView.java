package dev.postcopy.cli;

import dev.postcopy.daemon.Migration;
import dev.postcopy.daemon.MigrationMeter;
import dev.postcopy.metrics.Outcome;
import java.io.Console;
import java.io.PrintStream;
import java.util.Locale;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/** One line on a terminal that says how far a migration is; nothing elsewhere. */
public final class LiveView {

  /** What a line takes at most, where the machine's name is not a long one: a terminal has 80. */
  private static final int COLUMNS = 79;

  private static final int WIDEST_BAR = 24;
  private static final int NARROWEST_BAR = 4;
  private static final int REFRESH_MILLIS = 250;

  /** From 10 MiB a second on nobody reads what is behind the point. */
  private static final double WHOLE_RATE = 10;

  /**
   * In front of a line that replaces one. A line that is too long all the same is cut off: the rest
   * of one that was wrapped would stay behind.
   */
  private static final String REPLACE = "\u001b[?7l\r";

  /** Behind it. Only what is left of the old line is cleared, and nothing flickers. */
  private static final String REPLACED = "\u001b[K\u001b[?7h";

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

  private synchronized void show(JsonNode status) {
    if (terminal) {
      replace(line(status));
      shown = true;
    }
  }

  private void replace(String line) {
    out.print(REPLACE + line + REPLACED);
    out.flush();
  }

  /** Takes the line away. */
  private synchronized void clear() {
    if (shown) {
      replace("\r");
      shown = false;
    }
  }

  /** Leaves the line behind, with {@code message} below it; for somebody who does not wait. */
  private synchronized void leave(String message) {
    if (shown) {
      out.println();
      shown = false;
    }
    if (!message.isEmpty()) {
      out.println(message);
    }
  }

  /** Says how a migration has ended that ended well: of others more is said than fits a line. */
  public void showEnd(JsonNode status) {
    if (terminal && status.path("exit_code").asInt() == ExitCode.COMPLETED.code()) {
      out.println(line(status));
    }
  }

  /** Runs a migration of this process on this thread, and shows it meanwhile. */
  public Outcome during(Migration migration) {
    if (!terminal) {
      return migration.run();
    }
    MigrationMeter meter = new MigrationMeter(System.nanoTime());
    Thread watcher = Thread.ofPlatform().daemon().name("view").start(() -> watch(migration, meter));
    Outcome outcome;
    try {
      outcome = migration.run();
    } finally {
      watcher.interrupt();
      join(watcher);
      clear();
    }
    showEnd(outcome.toNode());
    return outcome;
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
    String vm = status.has("vm") ? status.path("vm").asString() + "  " : "";
    return vm
        + (status.path("ended").asBoolean(false)
            ? end(status.path("report"))
            : course(status, COLUMNS - vm.length()));
  }

  private static String end(JsonNode report) {
    StringBuilder line = new StringBuilder(report.path("status").asString());
    if (report.has("reason")) {
      line.append(": ").append(report.path("reason").asString());
    }
    if (report.path("downtime_ms").asDouble() > 0) {
      line.append(
          String.format(
              Locale.ROOT,
              "  downtime %.1f ms  memory after %.1f s",
              report.path("downtime_ms").asDouble(),
              report.path("total_ms").asDouble() / 1000));
    }
    long faults = report.path("faults").asLong();
    if (faults > 0) {
      line.append(
          String.format(
              Locale.ROOT,
              "  %d faults, p99 %.2f ms",
              faults,
              report.at("/fault_latency_us/p99").asLong() / 1000.0));
    }
    return line.toString();
  }

  private static String course(JsonNode status, int columns) {
    String phase = status.path("phase").asString();
    long all = status.path("all_pages").asLong();
    if (all == 0) {
      return phase;
    }
    long done = status.path("done_pages").asLong();
    String figures = "] %d %%  %s".formatted(100 * done / all, figures(status));
    int room = columns - phase.length() - "  [".length() - figures.length();
    int width = Math.clamp(room, NARROWEST_BAR, WIDEST_BAR);
    int filled = (int) (width * done / all);
    return phase + "  [" + "#".repeat(filled) + ".".repeat(width - filled) + figures;
  }

  private static String figures(JsonNode status) {
    double rate = status.path("bytes_per_second").asLong() / 1048576.0;
    StringBuilder line =
        new StringBuilder(
            String.format(Locale.ROOT, rate < WHOLE_RATE ? "%.1f MiB/s" : "%.0f MiB/s", rate));
    if (status.path("faults").asLong() > 0) {
      line.append("  %d faults/s".formatted(status.path("faults_per_second").asLong()));
    }
    long latencyMicros = status.path("latency_us").asLong();
    if (latencyMicros > 0) {
      line.append(String.format(Locale.ROOT, "  %.2f ms", latencyMicros / 1000.0));
    }
    if (status.has("seconds_left")) {
      line.append("  %d s left".formatted(status.path("seconds_left").asLong()));
    }
    return line.toString();
  }

  /**
   * Shows what a daemon answers until the migration has ended.
   *
   * @param farewell said where somebody ends this process first (SIGINT, SIGTERM); may be empty
   * @return the last status, which is not shown; null where the daemon ended first
   */
  public @Nullable JsonNode follow(Supplier<@Nullable JsonNode> answers, String farewell) {
    Thread hook = new Thread(() -> leave(farewell), "farewell");
    Runtime.getRuntime().addShutdownHook(hook);
    try {
      for (JsonNode status = answers.get(); status != null; status = answers.get()) {
        if (status.path("ended").asBoolean(false)) {
          return status;
        }
        show(status);
      }
      return null;
    } finally {
      if (removed(hook)) {
        clear();
      }
    }
  }

  private static boolean removed(Thread hook) {
    try {
      return Runtime.getRuntime().removeShutdownHook(hook);
    } catch (IllegalStateException e) {
      // This process ends already.
      return false;
    }
  }
}
