package dev.postcopy.metrics;

/**
 * How far a migration is.
 *
 * @param phase the agent's own name for it
 * @param donePages pages that are across, or known to be zero
 * @param allPages pages of the guest; 0 before they are counted
 * @param bytes of all frames with pages, on all connections
 * @param faults pages that somebody at the destination waited for
 * @param latencyMicros at the source a round trip, at the destination the median wait; 0: unknown
 */
public record MigrationProgress(
    String phase, int donePages, int allPages, long bytes, long faults, long latencyMicros) {

  /** Nothing is counted yet. */
  public static MigrationProgress none(String phase) {
    return new MigrationProgress(phase, 0, 0, 0, 0, 0);
  }

  public MigrationProgress in(String newPhase) {
    return new MigrationProgress(newPhase, donePages, allPages, bytes, faults, latencyMicros);
  }
}
