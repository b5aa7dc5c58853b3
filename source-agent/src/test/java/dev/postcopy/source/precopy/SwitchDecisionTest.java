package dev.postcopy.source.precopy;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.memory.RamLayout;
import java.time.Duration;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** When a guest goes over: as soon as another round would not pay, and certainly at some time. */
class SwitchDecisionTest {

  private static final long SECOND = Duration.ofSeconds(1).toNanos();
  private static final int PAGES_PER_SECOND = 28_000;

  private static SwitchDecision auto(int downtimeMillis) {
    return new SwitchDecision(new PrecopyMode.Auto(), Duration.ofMillis(downtimeMillis));
  }

  /** A round over {@code pages} pages on a link of about 1 Gbit/s. */
  private static Round round(int number, int pages, int written) {
    return new Round(
        number,
        (long) pages * RamLayout.PAGE_BYTES,
        Math.max(1, SECOND * pages / PAGES_PER_SECOND),
        written);
  }

  @Test
  void goesOverAfterOnePassWhereTheGuestWritesAsFastAsTheLinkIs() {
    assertThat(auto(0).isEnough(round(1, 150_000, 100_000))).isTrue();
  }

  @Test
  void makesAnotherRoundWhereItLeavesLittle() {
    assertThat(auto(0).isEnough(round(1, 150_000, 25_000))).isFalse();
  }

  @Test
  void goesOverWhereTheLastRoundLeftAsMuchAsTheOneBefore() {
    SwitchDecision decision = auto(0);
    assertThat(decision.isEnough(round(1, 150_000, 25_000))).isFalse();
    assertThat(decision.isEnough(round(2, 25_000, 24_000))).isTrue();
  }

  @Test
  void goesOverWhereWhatIsLeftFitsIntoTheDowntime() {
    Round left140Pages = round(1, 150_000, 140);
    assertThat(auto(5).isEnough(left140Pages)).isTrue();
    assertThat(auto(4).isEnough(left140Pages)).isFalse();
  }

  @Test
  void goesOverWhereNothingIsLeft() {
    assertThat(auto(0).isEnough(round(1, 150_000, 0))).isTrue();
    assertThat(
            new SwitchDecision(new PrecopyMode.Rounds(5), Duration.ZERO).isEnough(round(1, 9, 0)))
        .isTrue();
  }

  /** A round of a few pages takes as long as the way there and back, whatever the link can. */
  @Test
  void judgesTheLinkByItsBestRound() {
    SwitchDecision decision = auto(5);
    assertThat(decision.isEnough(round(1, 150_000, 20_000))).isFalse();
    assertThat(decision.fitsDowntime(100)).isTrue();
    Round slow = new Round(2, 100 * RamLayout.PAGE_BYTES, SECOND, 200);
    assertThat(decision.isEnough(slow)).isFalse();
    assertThat(decision.fitsDowntime(100)).isTrue();
  }

  @Test
  void nothingFitsIntoTheDowntimeBeforeTheLinkIsKnown() {
    assertThat(auto(1000).fitsDowntime(1)).isFalse();
    assertThat(auto(0).fitsDowntime(0)).isTrue();
  }

  @Test
  void makesTheRoundsThatWereAskedFor() {
    SwitchDecision decision = new SwitchDecision(new PrecopyMode.Rounds(3), Duration.ofSeconds(9));
    assertThat(decision.isEnough(round(1, 1000, 1000))).isFalse();
    assertThat(decision.isEnough(round(2, 1000, 1000))).isFalse();
    assertThat(decision.isEnough(round(3, 1000, 1000))).isTrue();
  }

  /** Whatever guest and link do: not more rounds than three quarters fit into all pages. */
  @Test
  void alwaysEnds() {
    SplittableRandom random = new SplittableRandom(5);
    for (int guest = 0; guest < 1000; guest++) {
      SwitchDecision decision = auto(0);
      int pages = 1 << 28;
      int rounds = 0;
      boolean enough = false;
      while (!enough) {
        rounds++;
        int written = random.nextInt(1, pages + 1);
        long nanos = random.nextLong(1, 100 * SECOND);
        enough = decision.isEnough(new Round(rounds, (long) pages << 12, nanos, written));
        pages = written;
      }
      assertThat(rounds).isLessThan(80);
    }
  }
}
