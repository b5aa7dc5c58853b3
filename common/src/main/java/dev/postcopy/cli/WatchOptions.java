package dev.postcopy.cli;

import dev.postcopy.metrics.MetricsEndpoint;
import dev.postcopy.metrics.MigrationLedger;
import dev.postcopy.metrics.MigrationView;
import dev.postcopy.metrics.Outcome;
import java.nio.file.Path;
import java.util.Optional;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** How migrations can be looked at by others. */
public final class WatchOptions {

  @Option(
      names = "--metrics",
      paramLabel = "HOST:PORT",
      converter = HostAndPort.Converter.class,
      description = "Where on loopback Prometheus may read figures (default: nowhere).")
  private @Nullable HostAndPort metrics;

  @Option(
      names = "--report",
      paramLabel = "FILE.html",
      description = "Write a web page about the migration when it has ended; the last one stays.")
  private @Nullable Path report;

  /** A ledger for as long as the process lives, and what was asked for to read it. */
  public MigrationLedger open(Path stateFolder) {
    MigrationLedger ledger = new MigrationLedger(stateFolder, Optional.ofNullable(report));
    if (metrics != null) {
      MetricsEndpoint.open(metrics, ledger);
    }
    return ledger;
  }

  /** Runs one migration that can be looked at. */
  public Outcome watch(Path stateFolder, MigrationView view, Supplier<Outcome> migration) {
    return open(stateFolder).watch(view, migration);
  }
}
