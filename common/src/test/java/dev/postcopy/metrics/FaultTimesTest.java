package dev.postcopy.metrics;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class FaultTimesTest {

  private static final long MS = 1_000_000;

  private final FaultTimes times = new FaultTimes();

  private double meanMillis(FaultStage stage) {
    return Math.round(times.histogram(stage).getMean() / MS * 10) / 10.0;
  }

  private void requireStages(double queue, double wire, double place, double wake, double total) {
    assertThat(
            new double[] {
              meanMillis(FaultStage.QUEUE),
              meanMillis(FaultStage.WIRE),
              meanMillis(FaultStage.PLACE),
              meanMillis(FaultStage.WAKE),
              meanMillis(FaultStage.TOTAL)
            })
        .as("queue, wire, place, wake, total in ms")
        .containsExactly(queue, wire, place, wake, total);
  }

  @Test
  void aFaultsTimeIsSharedOutAmongItsStages() {
    times.record(10 * MS, 11 * MS, 15 * MS, 18 * MS, 20 * MS, 1);
    requireStages(1, 4, 3, 2, 10);
  }

  @Test
  void aFaultOnAPageThatAnotherThreadAskedForWaitsForTheWireOnly() {
    times.record(10 * MS, 0, 15 * MS, 16 * MS, 17 * MS, 1);
    requireStages(0, 5, 1, 1, 7);
  }

  @Test
  void aPageThatCameOnItsOwnBeforeTheRequestWasSentTakesNoTimeOnTheWire() {
    times.record(10 * MS, 13 * MS, 12 * MS, 14 * MS, 15 * MS, 1);
    requireStages(2, 0, 2, 1, 5);
  }

  @Test
  void aFaultWhileItsPageIsBeingCopiedHasNoNegativeStage() {
    times.record(10 * MS, 0, 8 * MS, 9 * MS, 11 * MS, 1);
    requireStages(0, 0, 0, 1, 1);
  }

  @Test
  void theFirstHundredAreToldByThemselvesToo() {
    for (int fault = 0; fault < 100; fault++) {
      times.record(0, 0, 0, 0, 8 * MS, 1);
    }
    for (int fault = 0; fault < 900; fault++) {
      times.record(0, 0, 0, 0, MS, 1);
    }
    assertThat(times.first().count()).isEqualTo(100);
    assertThat(times.first().micros(50)).isBetween(7900L, 8100L);
    assertThat(times.total().micros(50)).isBetween(990L, 1010L);
  }

  @Test
  void stallsAreToldByThreadAndTheLongestComesFirst() {
    times.nameThread(7, "vCPU 1");
    times.record(0, 0, MS, MS, 2 * MS, 5);
    times.record(0, 0, MS, MS, 3 * MS, 7);
    times.record(0, 0, MS, MS, 1 * MS, 7);
    assertThat(times.stalls())
        .containsExactly(
            new ThreadStall(7, "vCPU 1", 2, 4000, 3000), new ThreadStall(5, "", 1, 2000, 2000));
  }

  @Test
  void aGuestWithVeryManyThreadsLosesNoStall() {
    for (int thread = 1; thread <= 2000; thread++) {
      times.record(0, 0, MS, MS, MS, thread);
    }
    assertThat(times.stalls().stream().mapToLong(ThreadStall::faults).sum()).isEqualTo(2000);
    assertThat(times.stalls().size()).as("threads told apart").isLessThan(600);
  }
}
