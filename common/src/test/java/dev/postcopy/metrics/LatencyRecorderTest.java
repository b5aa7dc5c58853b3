package dev.postcopy.metrics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.concurrent.TimeUnit;
import org.assertj.core.data.Percentage;
import org.junit.jupiter.api.Test;

class LatencyRecorderTest {

  private static final Percentage TWO_DIGITS = Percentage.withPercentage(1);

  private final LatencyRecorder recorder = new LatencyRecorder();

  @Test
  void isZeroBeforeAnythingWasRecorded() {
    assertThat(recorder.count()).isZero();
    assertThat(recorder.micros(50)).isZero();
    assertThat(recorder.micros(100)).isZero();
  }

  @Test
  void givesPercentilesInMicroseconds() {
    for (int micros = 1; micros <= 1000; micros++) {
      recorder.record(TimeUnit.MICROSECONDS.toNanos(micros));
    }

    assertThat(recorder.count()).isEqualTo(1000);
    assertThat(recorder.micros(50)).isCloseTo(500, TWO_DIGITS);
    assertThat(recorder.micros(90)).isCloseTo(900, TWO_DIGITS);
    assertThat(recorder.micros(99)).isCloseTo(990, TWO_DIGITS);
    assertThat(recorder.micros(100)).isCloseTo(1000, TWO_DIGITS);
  }

  @Test
  void keepsTheOneLongWaitApartFromTheMany() {
    for (int i = 0; i < 999; i++) {
      recorder.record(1_000);
    }
    recorder.record(TimeUnit.SECONDS.toNanos(2));

    assertThat(recorder.micros(99)).isCloseTo(1, within(0L));
    assertThat(recorder.micros(100)).isCloseTo(2_000_000, TWO_DIGITS);
  }

  @Test
  void takesTimesThatCannotBe() {
    recorder.record(-1);
    recorder.record(Long.MIN_VALUE);
    recorder.record(Long.MAX_VALUE);

    assertThat(recorder.count()).isEqualTo(3);
    assertThat(recorder.micros(50)).as("negative counts as 0").isZero();
    assertThat(recorder.micros(100))
        .as("longer than an hour counts as an hour")
        .isCloseTo(TimeUnit.HOURS.toMicros(1), TWO_DIGITS);
  }
}
