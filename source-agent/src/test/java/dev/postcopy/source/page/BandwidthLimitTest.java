package dev.postcopy.source.page;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

final class BandwidthLimitTest {

  private static final long SECOND = TimeUnit.SECONDS.toNanos(1);
  private static final long MIB = 1 << 20;

  @Test
  void aLimitHoldsOnAverage() {
    BandwidthLimit limit = new BandwidthLimit(MIB);
    assertThat(limit.waitNanos(SECOND)).as("before the first page").isZero();
    limit.onSent(MIB);
    assertThat(limit.waitNanos(SECOND))
        .as("behind what takes a second, a tenth of which may come at once")
        .isBetween(SECOND / 2, SECOND);
    assertThat(limit.waitNanos(2 * SECOND)).as("a second later").isZero();
  }

  @Test
  void whatWasSentWithoutALimitIsNotOwedToTheNextOne() {
    BandwidthLimit limit = new BandwidthLimit(BandwidthLimit.UNLIMITED);
    for (long second = 1; second <= 100; second++) {
      assertThat(limit.waitNanos(second * SECOND)).isZero();
      limit.onSent(100 * MIB);
    }
    limit.change(MIB);
    assertThat(limit.waitNanos(101 * SECOND))
        .as("how long the push rests for the last piece only, of 10 GiB")
        .isLessThan(100 * SECOND);
  }
}
