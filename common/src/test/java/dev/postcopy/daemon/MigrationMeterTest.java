package dev.postcopy.daemon;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.cli.LiveView;
import dev.postcopy.metrics.MigrationProgress;
import dev.postcopy.metrics.MigrationReport;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.node.ObjectNode;

class MigrationMeterTest {

  private static final long START = 5_000;

  private final MigrationMeter meter = new MigrationMeter(START);

  private static MigrationProgress progress(int donePages, long bytes, long faults) {
    return new MigrationProgress(
        "DRAINING",
        1000,
        new MigrationReport.PageCounts(0, donePages, 0, 0),
        bytes,
        faults,
        250,
        0,
        0);
  }

  private void sample(int seconds, int donePages, long bytes, long faults) {
    meter.sample(progress(donePages, bytes, faults), START + TimeUnit.SECONDS.toNanos(seconds));
  }

  @Test
  void ratesAreThoseOfTheLastSeconds() {
    sample(1, 100, 10 << 20, 50);
    sample(3, 500, 30 << 20, 60);

    ObjectNode json = meter.toJson();
    assertThat(json.path("bytes_per_second").asLong()).isEqualTo(10 << 20);
    assertThat(json.path("faults_per_second").asLong()).isEqualTo(5);
    assertThat(json.path("seconds").asDouble()).isEqualTo(3.0);
    assertThat(json.path("seconds_left").asLong()).as("500 pages at 200 a second").isEqualTo(3);
    assertThat(LiveView.line(json))
        .isEqualTo(
            "draining  [##########...........] 50 %  10 MiB/s  5 faults/s  0.25 ms  3 s left");
  }

  @Test
  void twoSamplesAtOnceKeepTheRate() {
    sample(1, 100, 10 << 20, 50);
    meter.sample(progress(101, 11 << 20, 51), START + TimeUnit.SECONDS.toNanos(1) + 1);

    assertThat(meter.toJson().path("bytes_per_second").asLong()).isEqualTo(10 << 20);
    assertThat(meter.toJson().path("done_pages").asLong()).isEqualTo(101);
  }

  @Test
  void noTimeIsPromisedWhileNothingMoves() {
    sample(1, 100, 10 << 20, 50);
    sample(2, 100, 10 << 20, 50);

    assertThat(meter.toJson().has("seconds_left")).isFalse();
  }

  @Test
  void beforePagesAreCountedOnlyThePhaseIsShown() {
    meter.sample(MigrationProgress.none("PREPARING"), START + 1);

    assertThat(LiveView.line(meter.toJson())).isEqualTo("preparing");
  }
}
