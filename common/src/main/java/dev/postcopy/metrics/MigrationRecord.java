package dev.postcopy.metrics;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.ObjectMapper;

/**
 * What is kept of a migration that has ended: enough to draw its course.
 *
 * @param side "source" or "destination"
 * @param vm how operators call the guest
 * @param startedAt ISO 8601, by this host's clock
 * @param durationMicros from its beginning to its end at this agent
 * @param phases when it came into each
 * @param samples about ten a second, fewer for long migrations
 * @param stages by {@link FaultStage#label}; empty at the source
 * @param stalls of QEMU's threads at the destination, longest first
 * @param last the counters at the end
 */
public record MigrationRecord(
    String side,
    String vm,
    String startedAt,
    long durationMicros,
    MigrationReport report,
    List<PhaseLog.Phase> phases,
    List<Point> samples,
    Map<String, Distribution> stages,
    List<ThreadStall> stalls,
    MigrationProgress last) {

  private static final ObjectMapper JSON = new ObjectMapper();

  /**
   * Reads what an agent has kept.
   *
   * @throws IOException where the file cannot be read, or holds something else
   */
  public static MigrationRecord read(Path file) throws IOException {
    try {
      return JSON.readValue(Files.readAllBytes(file), MigrationRecord.class);
    } catch (JacksonException e) {
      throw new IOException("it is no record of a migration", e);
    }
  }

  byte[] toJson() {
    return JSON.writeValueAsBytes(this);
  }

  /**
   * One moment.
   *
   * @param atMicros since the beginning
   * @param faultsSince faults that ended since the point before
   * @param p50Micros, p99Micros, maxMicros of these; 0 where there was none
   */
  public record Point(
      long atMicros,
      long knownPages,
      long bytes,
      long windowBytes,
      long faultsSince,
      long p50Micros,
      long p99Micros,
      long maxMicros) {}
}
