package dev.postcopy.source.session;

import dev.postcopy.cli.ExitCode;
import dev.postcopy.metrics.MigrationReport;
import dev.postcopy.metrics.Outcome;
import dev.postcopy.source.page.SentPages;
import dev.postcopy.wire.ControlFrame.DestinationStats;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** How a migration ended, in numbers. */
final class SourceReport {

  private SourceReport() {}

  static Outcome outcome(
      ExitCode code,
      String status,
      String reason,
      @Nullable SentPages pages,
      @Nullable Precopy precopy,
      @Nullable SourceDrain drain) {
    DestinationStats stats = drain == null ? null : drain.destinationStats();
    MigrationReport.FaultLatency faults =
        stats == null
            ? MigrationReport.FaultLatency.NONE
            : new MigrationReport.FaultLatency(
                stats.faults(),
                stats.p50Micros(),
                stats.p90Micros(),
                stats.p99Micros(),
                stats.maxMicros(),
                0);
    MigrationReport.PageCounts counts =
        pages == null ? MigrationReport.PageCounts.NONE : counts(pages);
    return new Outcome(
        code,
        new MigrationReport(
            status,
            reason,
            drain == null ? 0 : drain.downtimeMicros(),
            drain == null ? 0 : drain.totalMicros(),
            faults,
            counts,
            drain == null ? 0 : drain.bytesSent(),
            Optional.ofNullable(precopy).map(Precopy::report)));
  }

  /** Distinct pages by how they went. */
  static MigrationReport.PageCounts counts(SentPages pages) {
    return new MigrationReport.PageCounts(
        pages.demandPages(), pages.pushedPages(), pages.zeroPages(), pages.resentPages());
  }
}
