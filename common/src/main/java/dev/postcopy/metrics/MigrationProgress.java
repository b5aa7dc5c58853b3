package dev.postcopy.metrics;

/**
 * How far a migration is at one moment. What is counted only grows, but for the pages of which the
 * source takes some back while memory goes ahead.
 *
 * @param phase the agent's own name for it
 * @param allPages pages of the guest; 0 before they are counted
 * @param pages distinct pages by how they went, and those that went twice
 * @param bytes of all frames with pages, on all connections
 * @param faults pages that somebody at the destination waited for
 * @param latencyMicros at the source a round trip, at the destination the median wait; 0: unknown
 * @param windowBytes what the push may have in flight; 0 where this side does not decide it
 * @param reconnects pairs of connections that followed the first
 */
public record MigrationProgress(
    String phase,
    long allPages,
    MigrationReport.PageCounts pages,
    long bytes,
    long faults,
    long latencyMicros,
    long windowBytes,
    long reconnects) {

  /** Nothing is counted yet. */
  public static MigrationProgress none(String phase) {
    return new MigrationProgress(phase, 0, MigrationReport.PageCounts.NONE, 0, 0, 0, 0, 0);
  }

  public MigrationProgress in(String newPhase) {
    return new MigrationProgress(
        newPhase, allPages, pages, bytes, faults, latencyMicros, windowBytes, reconnects);
  }

  /** Pages that are across, or known to be zero. */
  public long donePages() {
    return pages.demand() + pages.pushed() + pages.zero();
  }

  /** The counts of both; all else is of no meaning. */
  MigrationProgress plus(MigrationProgress other) {
    return new MigrationProgress(
        "",
        allPages + other.allPages,
        pages.plus(other.pages),
        bytes + other.bytes,
        faults + other.faults,
        0,
        0,
        reconnects + other.reconnects);
  }
}
