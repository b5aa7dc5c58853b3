package dev.postcopy.dest.session;

import dev.postcopy.cli.ExitCode;
import dev.postcopy.metrics.MigrationProgress;
import dev.postcopy.metrics.MigrationReport;
import dev.postcopy.metrics.Outcome;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.DestinationStats;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** How a migration ended, in numbers. */
final class DestinationReport {

  private DestinationReport() {}

  /**
   * The guest stays at the source for certain.
   *
   * @param qemu what became of the QEMU that was to have it
   */
  static Outcome givenUp(String reason, String qemu, @Nullable FaultServing serving) {
    return outcome(
        ExitCode.FAILED_AT_SOURCE,
        "failed",
        "%s; the guest is at the source, %s".formatted(reason, qemu),
        serving,
        null);
  }

  /** QEMU has loaded the guest, and nobody here knows whether the source has committed. */
  static Outcome inDoubt(
      String reason, FaultServing serving, ControlFrame.@Nullable Confirmed confirmed) {
    return outcome(
        ExitCode.INCOMPLETE_AT_DESTINATION,
        "incomplete",
        reason
            + "; the source may have committed: quit this QEMU only where the source agent says"
            + " that the guest is there",
        serving,
        confirmed);
  }

  /** The guest belongs here, and some of its memory is not. */
  static Outcome incomplete(
      String reason, FaultServing serving, ControlFrame.@Nullable Confirmed confirmed) {
    return outcome(
        ExitCode.INCOMPLETE_AT_DESTINATION,
        "incomplete",
        "%s; %d of %d pages are here, threads that need another one wait"
            .formatted(
                reason,
                serving.pages().dataPages() + serving.pages().zeroPages(),
                serving.pages().pageCount()),
        serving,
        confirmed);
  }

  /** The guest goes on here with all of its memory, which the source says is not what it was. */
  static Outcome distrusted(String reason, @Nullable FaultServing serving) {
    return outcome(
        ExitCode.INCOMPLETE_AT_DESTINATION,
        "incomplete",
        reason + "; every page is here, and the guest goes on with them as they are",
        serving,
        null);
  }

  /** How far it is; from any thread. */
  static MigrationProgress progress(DestinationPhase phase, @Nullable FaultServing serving) {
    return serving == null
        ? MigrationProgress.none(phase.name())
        : serving.progress().in(phase.name());
  }

  static Outcome outcome(
      ExitCode code,
      String status,
      String reason,
      @Nullable FaultServing serving,
      ControlFrame.@Nullable Confirmed confirmed) {
    MigrationReport.FaultLatency faults = MigrationReport.FaultLatency.NONE;
    MigrationReport.PageCounts counts = MigrationReport.PageCounts.NONE;
    if (serving != null) {
      DestinationStats stats = serving.stats();
      faults =
          new MigrationReport.FaultLatency(
              stats.faults(),
              stats.p50Micros(),
              stats.p90Micros(),
              stats.p99Micros(),
              stats.maxMicros(),
              serving.firstFaultsP99Micros());
      counts = FaultServing.counts(stats);
    }
    return new Outcome(
        code,
        new MigrationReport(
            status,
            reason,
            confirmed == null ? 0 : confirmed.downtimeMicros(),
            confirmed == null ? 0 : confirmed.totalMicros(),
            faults,
            counts,
            confirmed == null ? 0 : confirmed.bytesSent(),
            Optional.empty()));
  }
}
