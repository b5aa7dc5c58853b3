package dev.postcopy.metrics;

import io.prometheus.metrics.model.registry.MultiCollector;
import io.prometheus.metrics.model.snapshots.ClassicHistogramBuckets;
import io.prometheus.metrics.model.snapshots.CounterSnapshot;
import io.prometheus.metrics.model.snapshots.GaugeSnapshot;
import io.prometheus.metrics.model.snapshots.HistogramSnapshot;
import io.prometheus.metrics.model.snapshots.Labels;
import io.prometheus.metrics.model.snapshots.MetricSnapshots;
import io.prometheus.metrics.model.snapshots.Unit;
import java.util.EnumMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.HdrHistogram.Histogram;

/**
 * The figures of an agent as Prometheus asks for them. They are put together when it asks: no fault
 * pays for being measured a second time.
 */
final class AgentCollector implements MultiCollector {

  private static final double[] BOUNDS_SECONDS = {
    0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5
  };

  private final MigrationLedger ledger;
  private final AtomicLong mostBytes = new AtomicLong();

  AgentCollector(MigrationLedger ledger) {
    this.ledger = ledger;
  }

  @Override
  public MetricSnapshots collect() {
    MigrationLedger.Snapshot all = ledger.look();
    MigrationProgress sum = all.endedSum();
    Map<FaultStage, Histogram> latencies = new EnumMap<>(all.endedLatencies());
    LabelledSums running = new LabelledSums();
    LabelledSums known = new LabelledSums();
    LabelledSums pages = new LabelledSums();
    LabelledSums window = new LabelledSums();
    LabelledSums stall = new LabelledSums();
    for (MigrationView view : all.underWay()) {
      MigrationProgress now = view.now().get();
      sum = sum.plus(now);
      for (FaultStage stage : FaultStage.values()) {
        latencies.merge(stage, view.faults().histogram(stage), EndedMigrations::sum);
      }
      Labels vm = Labels.of("vm", view.vm());
      running.add(Labels.of("vm", view.vm(), "phase", view.phases().current()), 1);
      known.add(vm, (double) now.donePages());
      pages.add(vm, (double) now.allPages());
      window.add(vm, (double) now.windowBytes());
      for (ThreadStall waited : view.faults().stalls()) {
        stall.add(
            Labels.of("vm", view.vm(), "thread", threadName(waited)), waited.totalMicros() / 1e6);
      }
    }
    return MetricSnapshots.of(
        gauge("migrations_running", "Migrations under way, by phase", running),
        gauge("known_pages", "Pages that the destination has", known),
        gauge("guest_pages", "Pages of the guest", pages),
        gauge("bulk_window_bytes", "What the push may have in flight", window),
        counter(
            named("thread_stall_seconds", "How long threads of QEMU waited for missing pages")
                .unit(Unit.SECONDS),
            stall),
        counter(
            named("migrations", "Migrations that have ended, by how they did"),
            ended(all.endedByStatus())),
        counter(
            named("pages", "Pages of migrations that have ended, by how they went"),
            pages(all.endedSum().pages())),
        counter(
            "sent_bytes",
            "Bytes of frames from the source, of pages that arrived at the destination",
            neverBack(sum.bytes())),
        counter("faults", "Faults at the destination, requests at the source", sum.faults()),
        counter("reconnects", "Pairs of connections that followed a first one", sum.reconnects()),
        latency(latencies));
  }

  private static String threadName(ThreadStall stall) {
    return stall.name().isEmpty() ? String.valueOf(stall.threadId()) : stall.name();
  }

  private static GaugeSnapshot gauge(String name, String help, LabelledSums values) {
    GaugeSnapshot.Builder gauge = GaugeSnapshot.builder().name("postcopy_" + name).help(help);
    values.forEach(
        (labels, value) ->
            gauge.dataPoint(
                GaugeSnapshot.GaugeDataPointSnapshot.builder()
                    .labels(labels)
                    .value(value)
                    .build()));
    return gauge.build();
  }

  /** At the destination pages are taken back, and a counter that goes back looks started anew. */
  private long neverBack(long bytes) {
    return mostBytes.accumulateAndGet(bytes, Math::max);
  }

  private static CounterSnapshot.Builder named(String name, String help) {
    return CounterSnapshot.builder().name("postcopy_" + name).help(help);
  }

  private static CounterSnapshot counter(CounterSnapshot.Builder counter, LabelledSums values) {
    values.forEach(
        (labels, value) ->
            counter.dataPoint(
                CounterSnapshot.CounterDataPointSnapshot.builder()
                    .labels(labels)
                    .value(value)
                    .build()));
    return counter.build();
  }

  private static CounterSnapshot counter(String name, String help, long value) {
    LabelledSums only = new LabelledSums();
    only.add(Labels.EMPTY, (double) value);
    return counter(named(name, help), only);
  }

  private static LabelledSums ended(Map<String, Long> byStatus) {
    LabelledSums sums = new LabelledSums();
    byStatus.forEach((status, count) -> sums.add(Labels.of("status", status), (double) count));
    return sums;
  }

  private static LabelledSums pages(MigrationReport.PageCounts counts) {
    LabelledSums sums = new LabelledSums();
    sums.add(Labels.of("kind", "demand"), (double) counts.demand());
    sums.add(Labels.of("kind", "pushed"), (double) counts.pushed());
    sums.add(Labels.of("kind", "zero"), (double) counts.zero());
    sums.add(Labels.of("kind", "duplicate"), (double) counts.duplicate());
    return sums;
  }

  private static HistogramSnapshot latency(Map<FaultStage, Histogram> latencies) {
    HistogramSnapshot.Builder histogram =
        HistogramSnapshot.builder()
            .name("postcopy_fault_latency_seconds")
            .unit(Unit.SECONDS)
            .help("From reading a fault to waking its thread, by stage");
    latencies.forEach(
        (stage, nanos) ->
            histogram.dataPoint(
                HistogramSnapshot.HistogramDataPointSnapshot.builder()
                    .labels(Labels.of("stage", stage.label()))
                    .classicHistogramBuckets(buckets(nanos))
                    .sum(
                        nanos.getTotalCount() == 0
                            ? 0
                            : nanos.getMean() * nanos.getTotalCount() / 1e9)
                    .build()));
    return histogram.build();
  }

  private static ClassicHistogramBuckets buckets(Histogram nanos) {
    ClassicHistogramBuckets.Builder buckets = ClassicHistogramBuckets.builder();
    long before = 0;
    for (double bound : BOUNDS_SECONDS) {
      long upTo = nanos.getCountBetweenValues(0, (long) (bound * 1e9));
      buckets.bucket(bound, upTo - before);
      before = upTo;
    }
    buckets.bucket(Double.POSITIVE_INFINITY, nanos.getTotalCount() - before);
    return buckets.build();
  }
}
