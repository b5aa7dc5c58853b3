package dev.postcopy.metrics;

import java.util.EnumMap;
import java.util.Map;
import java.util.TreeMap;
import org.HdrHistogram.Histogram;

/**
 * The sums of all migrations of this process that have ended: counters must never go back. Guarded
 * by its owner.
 */
final class EndedMigrations {

  private final Map<String, Long> byStatus = new TreeMap<>();
  private final Map<FaultStage, Histogram> latencies = new EnumMap<>(FaultStage.class);
  private MigrationProgress sum = MigrationProgress.none("");

  void add(MigrationView view, String status) {
    byStatus.merge(status, 1L, Long::sum);
    sum = sum.plus(view.now().get());
    for (FaultStage stage : FaultStage.values()) {
      Histogram recorded = view.faults().histogram(stage);
      latencies.merge(stage, recorded, EndedMigrations::sum);
    }
  }

  static Histogram sum(Histogram a, Histogram b) {
    Histogram both = a.copy();
    both.add(b);
    return both;
  }

  Map<String, Long> byStatus() {
    return Map.copyOf(byStatus);
  }

  MigrationProgress sum() {
    return sum;
  }

  Map<FaultStage, Histogram> latencies() {
    return new EnumMap<>(latencies);
  }
}
