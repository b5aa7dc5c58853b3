package dev.postcopy.metrics;

import java.util.concurrent.TimeUnit;
import org.HdrHistogram.AbstractHistogram;
import org.HdrHistogram.AtomicHistogram;
import org.HdrHistogram.Histogram;

/**
 * How long faults waited. One thread records; any thread may read, and finds every value that was
 * recorded before.
 */
public final class LatencyRecorder {

  private static final long LONGEST_NANOS = TimeUnit.HOURS.toNanos(1);

  private final AtomicHistogram histogram = new AtomicHistogram(LONGEST_NANOS, 2);

  /** Records one latency in nanoseconds; longer than an hour counts as an hour. */
  public void record(long nanos) {
    histogram.recordValue(Math.clamp(nanos, 0, LONGEST_NANOS));
  }

  /** How many were recorded. */
  public long count() {
    return histogram.getTotalCount();
  }

  /** The latency at {@code percentile} (0 to 100), in microseconds; 0 where none was recorded. */
  public long micros(double percentile) {
    return micros(histogram, percentile);
  }

  /** The value of {@code nanos} at {@code percentile}, in microseconds; 0 where it has none. */
  static long micros(AbstractHistogram nanos, double percentile) {
    return TimeUnit.NANOSECONDS.toMicros(nanos.getValueAtPercentile(percentile));
  }

  /** All that was recorded so far. */
  Histogram copy() {
    return histogram.copy();
  }

  /** What was recorded since the last call; a value that comes meanwhile may be missed. */
  Histogram take() {
    Histogram taken = histogram.copy();
    histogram.reset();
    return taken;
  }
}
