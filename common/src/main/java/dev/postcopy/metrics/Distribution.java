package dev.postcopy.metrics;

import java.util.ArrayList;
import java.util.List;
import org.HdrHistogram.Histogram;

/**
 * Latencies, in buckets whose bounds grow by half an octave.
 *
 * @param count how many
 * @param meanMicros their mean
 * @param buckets those that are not empty, in ascending order
 */
public record Distribution(
    long count, double meanMicros, long p50, long p90, long p99, long max, List<Bucket> buckets) {

  private static final double STEP = Math.sqrt(2);

  /**
   * @param fromMicros more than this
   * @param toMicros and at most this
   */
  public record Bucket(double fromMicros, double toMicros, long count) {}

  static Distribution of(Histogram nanos) {
    List<Bucket> buckets = new ArrayList<>();
    double from = 0;
    for (double to = 1; nanos.getTotalCount() > 0 && from * 1000 <= nanos.getMaxValue(); ) {
      long count =
          nanos.getCountBetweenValues(
              (long) (from * 1000) + (from == 0 ? 0 : 1), (long) (to * 1000));
      if (count > 0) {
        buckets.add(new Bucket(from, to, count));
      }
      from = to;
      to *= STEP;
    }
    return new Distribution(
        nanos.getTotalCount(),
        nanos.getTotalCount() == 0 ? 0 : nanos.getMean() / 1000,
        LatencyRecorder.micros(nanos, 50),
        LatencyRecorder.micros(nanos, 90),
        LatencyRecorder.micros(nanos, 99),
        LatencyRecorder.micros(nanos, 100),
        buckets);
  }
}
