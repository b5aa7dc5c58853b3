package dev.postcopy.source.precopy;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import org.junit.jupiter.api.Test;

/** A stretch takes a fifth of a second, whatever the link carries. */
class StretchLengthTest {

  private static long millis(int millis) {
    return Duration.ofMillis(millis).toNanos();
  }

  private static int lengthOnLinkOf(int pagesPerSecond) {
    StretchLength length = new StretchLength();
    for (int i = 0; i < 20; i++) {
      length.onPushed(
          length.pages(), length.pages() * Duration.ofSeconds(1).toNanos() / pagesPerSecond);
    }
    return length.pages();
  }

  @Test
  void findsWhatTheLinkCarries() {
    assertThat(lengthOnLinkOf(28_000)).isBetween(5_590, 5_610);
    assertThat(lengthOnLinkOf(1_000_000)).isBetween(199_000, 201_000);
    assertThat(lengthOnLinkOf(2_000)).isBetween(399, 401);
    assertThat(lengthOnLinkOf(100)).as("not without end").isEqualTo(256);
  }

  @Test
  void growsToTwiceItsLengthAtATime() {
    StretchLength length = new StretchLength();
    int before = length.pages();
    length.onPushed(before, 1);
    assertThat(length.pages()).isEqualTo(2 * before);
  }

  /** Holes, or pages that the guest was just writing to. */
  @Test
  void learnsNothingFromAStretchOfWhichLittleWasSent() {
    StretchLength length = new StretchLength();
    int before = length.pages();
    length.onPushed(before / 4, millis(1));
    length.onPushed(0, millis(1000));
    assertThat(length.pages()).isEqualTo(before);
  }
}
