package dev.postcopy.source.page;

import static dev.postcopy.source.page.Pushers.TURN_NANOS;
import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.wire.Wire;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** How much may be in flight, and when, by what round trips tell. */
class BulkWindowTest {

  private static final long IDLE_NANOS = 100_000;
  private static final long QUEUED_NANOS = 1_000_000;

  private static final long FRAME_BYTES = Wire.PUSHED_FRAME_BYTES;

  /** Two frames of four pages. */
  private static final long SMALLEST_BYTES = 2 * FRAME_BYTES;

  private static final int ROUND_TRIPS = 1000;

  private final Pushers pushers = new Pushers();
  private final BulkWindow window = BulkWindow.adaptive(pushers);

  private static void shrink(BulkWindow window) {
    window.onIdleRoundTrip(IDLE_NANOS);
    for (int i = 0; i < ROUND_TRIPS; i++) {
      window.onLimiting();
      window.onRoundTrip(QUEUED_NANOS);
    }
  }

  private static void grow(BulkWindow window) {
    for (int i = 0; i < ROUND_TRIPS; i++) {
      window.onLimiting();
      window.onRoundTrip(IDLE_NANOS);
    }
  }

  private List<BulkWindow> smallest(int count) {
    List<BulkWindow> all =
        Stream.generate(() -> BulkWindow.adaptive(pushers)).limit(count).toList();
    all.forEach(BulkWindow::open);
    all.forEach(BulkWindowTest::shrink);
    return all;
  }

  @Test
  void shrinksToTwoFramesWhileAFaultWouldWaitLong() {
    shrink(window);
    assertThat(window.bytes()).isEqualTo(SMALLEST_BYTES);
  }

  private static void acknowledge(BulkWindow window, long... batchBytes) {
    for (long bytes : batchBytes) {
      window.onLimiting();
      window.onAcknowledged(bytes);
    }
  }

  @Test
  void lastsForWhatTheDestinationReadsAtATime() {
    shrink(window);
    long batch = 3 * FRAME_BYTES;
    acknowledge(window, batch, batch, batch, batch);
    assertThat(window.bytes())
        .as("one frame is on its way while three are dealt with")
        .isEqualTo(batch + FRAME_BYTES);
    acknowledge(window, FRAME_BYTES);
    assertThat(window.bytes()).as("once it reads every frame").isEqualTo(SMALLEST_BYTES);
  }

  @Test
  void leavesRoomForARecordOfWhichPartHasArrived() {
    shrink(window);
    window.leaveRoomForRecords();
    long batch = 3 * FRAME_BYTES;
    acknowledge(window, batch, batch, batch, batch);
    assertThat(window.bytes()).isEqualTo(batch + 2 * FRAME_BYTES);
  }

  @Test
  void isNotMovedByADestinationThatOnceReadsLate() {
    shrink(window);
    acknowledge(window, FRAME_BYTES, FRAME_BYTES, FRAME_BYTES, 8 * FRAME_BYTES);
    assertThat(window.bytes()).isEqualTo(SMALLEST_BYTES);
  }

  @Test
  void isNotMovedByASmallBatchWhenThereWasNoMoreToSend() {
    shrink(window);
    long batch = 3 * FRAME_BYTES;
    acknowledge(window, batch, batch, batch, batch);
    window.onAcknowledged(20);
    assertThat(window.bytes()).isEqualTo(batch + FRAME_BYTES);
  }

  @Test
  void doesNotGrowWithBatchesForEver() {
    shrink(window);
    for (int i = 0; i < ROUND_TRIPS; i++) {
      acknowledge(window, window.bytes());
    }
    assertThat(window.bytes())
        .as("what a destination may have that reads all there is each time")
        .isEqualTo(9 * FRAME_BYTES);
  }

  @Test
  void ofAFixedSizeStaysWhateverTheDestinationReadsAtATime() {
    BulkWindow fixed = BulkWindow.fixed(pushers, FRAME_BYTES);
    acknowledge(fixed, 4 * FRAME_BYTES, 4 * FRAME_BYTES, 4 * FRAME_BYTES, 4 * FRAME_BYTES);
    assertThat(fixed.bytes()).isEqualTo(FRAME_BYTES);
  }

  @Test
  void growsWhileRoundTripsAreAsOnAnIdleLink() {
    long before = window.bytes();
    grow(window);
    assertThat(window.bytes()).isGreaterThan(8 * before);
  }

  @Test
  void doesNotGrowWhileSomethingElseHoldsThePushBack() {
    long before = window.bytes();
    for (int i = 0; i < ROUND_TRIPS; i++) {
      window.onRoundTrip(IDLE_NANOS);
    }
    assertThat(window.bytes()).isEqualTo(before);
  }

  @Test
  void isNotMovedByALongRoundTripAmongShortOnes() {
    long before = window.bytes();
    for (int i = 0; i < ROUND_TRIPS; i++) {
      window.onRoundTrip(i % 4 == 0 ? QUEUED_NANOS : IDLE_NANOS);
    }
    assertThat(window.bytes()).isEqualTo(before);
  }

  @Test
  void isMeasuredLessOftenWhileItStaysAsItIs() {
    window.onIdleRoundTrip(IDLE_NANOS);
    assertThat(window.measuringPauseNanos(0)).as("at the begin").isZero();
    shrink(window);
    assertThat(window.measuringPauseNanos(0)).as("while it can shrink no more").isPositive();
    for (int i = 0; i < 8; i++) {
      window.onLimiting();
      window.onRoundTrip(IDLE_NANOS);
    }
    assertThat(window.measuringPauseNanos(0)).as("once it grows").isZero();
  }

  @Test
  void ofAFixedSizeIsMeasuredAsSeldomAsOneThatStaysAsItIs() {
    shrink(window);
    BulkWindow fixed = BulkWindow.fixed(pushers, 1 << 20);
    assertThat(fixed.measuringPauseNanos(0))
        .as("a round trip that changes nothing takes processors that faults need")
        .isEqualTo(window.measuringPauseNanos(0));
  }

  @Test
  void aMigrationAlonePushesWheneverItMay() {
    window.open();
    shrink(window);
    for (long now = -3 * TURN_NANOS; now < 3 * TURN_NANOS; now += TURN_NANOS / 7) {
      assertThat(window.waitNanos(now)).isZero();
    }
  }

  @Test
  void ofThoseWhoseWindowIsTheSmallestOneAtATimePushes() {
    List<BulkWindow> all = smallest(3);
    for (long now = -9 * TURN_NANOS; now < 9 * TURN_NANOS; now += TURN_NANOS / 7) {
      long at = now;
      assertThat(all)
          .as("whose turn it is at %d", now)
          .filteredOn(each -> each.waitNanos(at) == 0)
          .hasSize(1);
    }
  }

  @Test
  void whoWaitsAsLongAsItIsToldHasItsTurn() {
    for (BulkWindow each : smallest(5)) {
      long now = 12 * TURN_NANOS + 345;
      long wait = each.waitNanos(now);
      assertThat(wait).isBetween(0L, 4 * TURN_NANOS);
      assertThat(each.waitNanos(now + wait)).isZero();
    }
  }

  @Test
  void whoseWindowHasGrownWaitsForNobody() {
    List<BulkWindow> all = smallest(2);
    BulkWindow waiting =
        all.stream().filter(each -> each.waitNanos(0) > 0).findFirst().orElseThrow();
    grow(waiting);
    assertThat(waiting.waitNanos(0)).isZero();
  }

  @Test
  void whoComesWhileOthersPushBeginsModestly() {
    window.open();
    grow(window);
    BulkWindow second = BulkWindow.adaptive(pushers);
    second.open();
    assertThat(second.bytes()).isEqualTo(SMALLEST_BYTES);
    assertThat(second.waitNanos(0) == 0).isNotEqualTo(second.waitNanos(TURN_NANOS) == 0);
    assertThat(window.waitNanos(0)).as("who was there").isEqualTo(window.waitNanos(TURN_NANOS));
  }

  @Test
  void whoPushesNoMoreHasNoTurn() {
    List<BulkWindow> all = smallest(2);
    BulkWindow waiting =
        all.stream().filter(each -> each.waitNanos(0) > 0).findFirst().orElseThrow();
    all.stream().filter(each -> each != waiting).forEach(BulkWindow::close);
    assertThat(waiting.waitNanos(0)).isZero();
    assertThat(pushers.count()).isEqualTo(1);
  }
}
