package dev.postcopy.daemon;

import dev.postcopy.metrics.MigrationProgress;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Makes rates of what is counted. Owned by one thread. */
public final class MigrationMeter {

  /** Shorter than this and a rate is mostly chance. */
  private static final long SHORTEST_NANOS = TimeUnit.MILLISECONDS.toNanos(900);

  private final long startNanos;
  private MigrationProgress latest = MigrationProgress.none("");
  private MigrationProgress base = latest;
  private long latestNanos;
  private long baseNanos;
  private double pagesPerSecond;
  private double bytesPerSecond;
  private double faultsPerSecond;

  /**
   * @param startNanos by System.nanoTime, when the migration began
   */
  public MigrationMeter(long startNanos) {
    this.startNanos = startNanos;
    this.latestNanos = startNanos;
    this.baseNanos = startNanos;
  }

  /** Takes what is true at {@code nanos}. */
  public void sample(MigrationProgress progress, long nanos) {
    latest = progress;
    latestNanos = nanos;
    if (nanos - baseNanos >= SHORTEST_NANOS) {
      double seconds = (nanos - baseNanos) / 1e9;
      pagesPerSecond = (progress.donePages() - base.donePages()) / seconds;
      bytesPerSecond = (progress.bytes() - base.bytes()) / seconds;
      faultsPerSecond = (progress.faults() - base.faults()) / seconds;
      base = progress;
      baseNanos = nanos;
    }
  }

  /** What an operator is shown, and programs read. */
  public ObjectNode toJson() {
    ObjectNode json =
        JsonNodeFactory.instance
            .objectNode()
            .put("phase", latest.phase().toLowerCase(Locale.ROOT))
            .put("done_pages", latest.donePages())
            .put("all_pages", latest.allPages())
            .put("bytes", latest.bytes())
            .put("bytes_per_second", Math.round(bytesPerSecond))
            .put("faults", latest.faults())
            .put("faults_per_second", Math.round(faultsPerSecond))
            .put("latency_us", latest.latencyMicros())
            .put("seconds", Math.round((latestNanos - startNanos) / 1e8) / 10.0);
    long left = latest.allPages() - latest.donePages();
    if (latest.donePages() > 0 && pagesPerSecond > 0) {
      json.put("seconds_left", Math.round(left / pagesPerSecond));
    }
    return json;
  }
}
