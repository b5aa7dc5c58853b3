package dev.postcopy.source.cli;

import dev.postcopy.metrics.Outcome;
import dev.postcopy.source.session.ProgressListener;
import dev.postcopy.source.session.SourcePhase;
import java.io.Console;
import java.io.PrintStream;
import java.util.function.Supplier;

/** One line on a terminal that says how much of the guest's memory is across; nothing elsewhere. */
final class ProgressBar implements ProgressListener {

  private static final int WIDTH = 40;

  private final PrintStream out;
  private final boolean terminal = onTerminal();
  private final long startNanos = System.nanoTime();
  private boolean shown;

  ProgressBar(PrintStream out) {
    this.out = out;
  }

  @SuppressWarnings("SystemConsoleNull") // its own document allows null, whatever today's JDK does
  private static boolean onTerminal() {
    Console console = System.console();
    return console != null && console.isTerminal();
  }

  @Override
  public void onProgress(SourcePhase phase, int donePages, int allPages, long bytesSent) {
    if (!terminal) {
      return;
    }
    int filled = (int) ((long) WIDTH * donePages / allPages);
    double seconds = (System.nanoTime() - startNanos) / 1e9;
    out.printf(
        "\r[%s%s] %3d %%  %d MiB sent, %.0f MiB/s ",
        "#".repeat(filled),
        ".".repeat(WIDTH - filled),
        100L * donePages / allPages,
        bytesSent >> 20,
        bytesSent / 1048576.0 / seconds);
    out.flush();
    shown = true;
  }

  /** Runs a migration that reports here, and then goes to the next line. */
  Outcome during(Supplier<Outcome> migration) {
    try {
      return migration.get();
    } finally {
      if (shown) {
        out.println();
      }
    }
  }
}
