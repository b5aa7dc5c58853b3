package dev.postcopy.source.precopy;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class RoundLogTest {

  private final RoundLog log = new RoundLog();

  private void add(int count) {
    for (int number = 1; number <= count; number++) {
      log.add(new Round(number, 10, 20, 30));
    }
  }

  @Test
  void hasTheRoundsInOrder() {
    add(3);

    assertThat(log.list()).extracting(Round::number).containsExactly(1, 2, 3);
  }

  @Test
  void doesNotGrowWithoutBoundAndHasTheLastRound() {
    add(100_000);

    assertThat(log.list()).hasSize(RoundLog.MAX_ROUNDS);
    assertThat(log.list().getFirst().number()).isEqualTo(1);
    assertThat(log.list().getLast().number()).isEqualTo(100_000);
  }
}
