package dev.postcopy.metrics;

import java.util.List;
import java.util.Optional;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * What {@code --json} prints as the last line on standard output.
 *
 * @param status "completed", "failed", "refused" or "incomplete"
 * @param reason why, where it is not "completed"; else ""
 * @param downtimeMicros from STOP at the source to the guest running at the destination
 * @param totalMicros from STOP until all memory was there
 * @param precopy what went ahead of the guest; empty where nothing did, and at the destination
 */
public record MigrationReport(
    String status,
    String reason,
    long downtimeMicros,
    long totalMicros,
    FaultLatency faults,
    PageCounts pages,
    long bytesSent,
    Optional<Precopy> precopy) {

  /**
   * Fault messages, and the time from reading one to waking its thread, in microseconds.
   *
   * @param p99OfFirst p99 of the first hundred; 0 at the source, which is not told
   */
  public record FaultLatency(long count, long p50, long p90, long p99, long max, long p99OfFirst) {
    public static final FaultLatency NONE = new FaultLatency(0, 0, 0, 0, 0, 0);
  }

  /** Distinct pages by how they came, and those that came twice. */
  public record PageCounts(long demand, long pushed, long zero, long duplicate) {
    public static final PageCounts NONE = new PageCounts(0, 0, 0, 0);

    PageCounts plus(PageCounts other) {
      return new PageCounts(
          demand + other.demand,
          pushed + other.pushed,
          zero + other.zero,
          duplicate + other.duplicate);
    }
  }

  /**
   * Memory that went ahead while the guest ran at the source.
   *
   * @param rounds in order; of very many the last stands for those before it
   * @param bytes of all frames until the guest was to stop
   * @param pagesTakenBackAtStop which the guest had written to since the last round
   */
  public record Precopy(List<Round> rounds, long bytes, int pagesTakenBackAtStop) {}

  /**
   * One round over what was not there yet.
   *
   * @param number 1 for the first, which goes over all memory
   * @param bytes of its frames
   * @param micros from its beginning until everything was acknowledged
   * @param pagesWritten which the guest wrote to since they were sent, and so have to be sent again
   */
  public record Round(int number, long bytes, long micros, int pagesWritten) {}

  /** A report of a migration that did not come to count anything. */
  public static MigrationReport without(String status, String reason) {
    return new MigrationReport(
        status, reason, 0, 0, FaultLatency.NONE, PageCounts.NONE, 0, Optional.empty());
  }

  /** One line of JSON. */
  public String toJson() {
    return toNode().toString();
  }

  public ObjectNode toNode() {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("status", status);
    if (!reason.isEmpty()) {
      json.put("reason", reason);
    }
    json.put("downtime_ms", downtimeMicros / 1000.0);
    json.put("total_ms", totalMicros / 1000.0);
    json.put("faults", faults.count());
    ObjectNode latency =
        json.putObject("fault_latency_us")
            .put("p50", faults.p50())
            .put("p90", faults.p90())
            .put("p99", faults.p99())
            .put("max", faults.max());
    if (faults.p99OfFirst() > 0) {
      latency.put("p99_of_first_100", faults.p99OfFirst());
    }
    json.putObject("pages")
        .put("demand", pages.demand())
        .put("pushed", pages.pushed())
        .put("zero", pages.zero())
        .put("duplicate", pages.duplicate());
    json.put("bytes_sent", bytesSent);
    precopy.ifPresent(ahead -> put(ahead, json.putObject("precopy")));
    return json;
  }

  private static void put(Precopy ahead, ObjectNode json) {
    ArrayNode rounds = json.putArray("rounds");
    for (Round round : ahead.rounds()) {
      rounds
          .addObject()
          .put("number", round.number())
          .put("bytes", round.bytes())
          .put("ms", round.micros() / 1000.0)
          .put("pages_written", round.pagesWritten());
    }
    json.put("bytes_ahead", ahead.bytes());
    json.put("pages_taken_back_at_stop", ahead.pagesTakenBackAtStop());
  }
}
