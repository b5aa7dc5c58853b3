package dev.postcopy.metrics;

import java.util.ArrayList;
import java.util.List;
import org.HdrHistogram.Histogram;

/**
 * The course of a migration, a point at a time. What it holds does not grow with the migration's
 * length: when it is full every second point goes, and further ones come half as often.
 */
final class Course {

  private static final int MAX_POINTS = 1200;

  private final MigrationView view;
  private final List<MigrationRecord.Point> points = new ArrayList<>();
  private int stride = 1;
  private int ticks;

  Course(MigrationView view) {
    this.view = view;
  }

  /** Adds how things are; called about ten times a second. */
  synchronized void tick() {
    if (ticks++ % stride == 0) {
      add();
    }
  }

  /** Adds how things are, whenever that is. */
  synchronized void add() {
    MigrationProgress now = view.now().get();
    Histogram recent = view.faults().takeRecent();
    points.add(
        new MigrationRecord.Point(
            view.phases().micros(),
            now.donePages(),
            now.bytes(),
            now.windowBytes(),
            recent.getTotalCount(),
            LatencyRecorder.micros(recent, 50),
            LatencyRecorder.micros(recent, 99),
            LatencyRecorder.micros(recent, 100)));
    if (points.size() >= MAX_POINTS) {
      thin();
    }
  }

  private void thin() {
    List<MigrationRecord.Point> kept = new ArrayList<>();
    for (int i = 0; i + 1 < points.size(); i += 2) {
      kept.add(merge(points.get(i), points.get(i + 1)));
    }
    points.clear();
    points.addAll(kept);
    stride *= 2;
  }

  /** Of two percentiles the larger: a stall must not vanish because time went by. */
  private static MigrationRecord.Point merge(MigrationRecord.Point a, MigrationRecord.Point b) {
    return new MigrationRecord.Point(
        b.atMicros(),
        b.knownPages(),
        b.bytes(),
        b.windowBytes(),
        a.faultsSince() + b.faultsSince(),
        Math.max(a.p50Micros(), b.p50Micros()),
        Math.max(a.p99Micros(), b.p99Micros()),
        Math.max(a.maxMicros(), b.maxMicros()));
  }

  synchronized List<MigrationRecord.Point> points() {
    return List.copyOf(points);
  }
}
