package dev.postcopy.metrics;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Supplier;
import org.HdrHistogram.Histogram;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Watches the migrations of one agent, and keeps a record of each that has ended. Any thread may
 * call.
 */
public final class MigrationLedger {

  private static final Logger log = LoggerFactory.getLogger(MigrationLedger.class);
  private static final Duration TICK = Duration.ofMillis(100);

  /** Guarded by this, with {@link #ended}: a migration is in one of both, and once. */
  private final List<MigrationView> underWay = new ArrayList<>();

  private final EndedMigrations ended = new EndedMigrations();
  private final RecordFolder records;
  private final Optional<Path> reportFile;

  /**
   * @param stateFolder records go to its folder {@code records}
   * @param reportFile where a page about each migration is written to, the last one stays
   */
  public MigrationLedger(Path stateFolder, Optional<Path> reportFile) {
    this.records = new RecordFolder(stateFolder.resolve("records"));
    this.reportFile = reportFile;
  }

  /** Runs {@code migration} and watches it by {@code view}. */
  public Outcome watch(MigrationView view, Supplier<Outcome> migration) {
    Instant startedAt = Instant.now().truncatedTo(ChronoUnit.MILLIS);
    Course course = new Course(view);
    begin(view);
    Thread ticking = Thread.ofVirtual().name("course").start(() -> tick(course));
    try {
      Outcome outcome = migration.get();
      ticking.interrupt();
      course.add();
      keep(record(view, course, startedAt, outcome.report()));
      end(view, outcome.report().status());
      return outcome;
    } catch (RuntimeException | Error e) {
      // A refusal, mostly: nothing was touched, which is worth a count, and no record.
      end(view, e instanceof RuntimeException ? "refused" : "incomplete");
      throw e;
    } finally {
      ticking.interrupt();
    }
  }

  private synchronized void begin(MigrationView view) {
    underWay.add(view);
  }

  private synchronized void end(MigrationView view, String status) {
    ended.add(view, status);
    underWay.remove(view);
  }

  private static void tick(Course course) {
    try {
      while (true) {
        Thread.sleep(TICK);
        course.tick();
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static MigrationRecord record(
      MigrationView view, Course course, Instant startedAt, MigrationReport report) {
    Map<String, Distribution> stages = new LinkedHashMap<>();
    for (FaultStage stage : FaultStage.values()) {
      Distribution distribution = Distribution.of(view.faults().histogram(stage));
      if (distribution.count() > 0) {
        stages.put(stage.label(), distribution);
      }
    }
    return new MigrationRecord(
        view.side(),
        view.vm(),
        startedAt.toString(),
        view.phases().micros(),
        report,
        view.phases().list(),
        course.points(),
        stages,
        view.faults().stalls(),
        view.now().get());
  }

  /** A record that cannot be kept is no reason to call the migration failed. */
  private void keep(MigrationRecord record) {
    try {
      records.add(record);
      if (reportFile.isPresent()) {
        ReportPage.write(record, reportFile.get());
      }
    } catch (IOException | UncheckedIOException e) {
      log.warn("no record of the migration: {}", e.getMessage());
    }
  }

  /** All migrations at one moment. */
  record Snapshot(
      List<MigrationView> underWay,
      MigrationProgress endedSum,
      Map<FaultStage, Histogram> endedLatencies,
      Map<String, Long> endedByStatus) {}

  synchronized Snapshot look() {
    return new Snapshot(List.copyOf(underWay), ended.sum(), ended.latencies(), ended.byStatus());
  }
}
