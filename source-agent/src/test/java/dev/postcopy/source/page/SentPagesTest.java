package dev.postcopy.source.page;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.memory.PageBitmap;
import org.junit.jupiter.api.Test;

/** How far it is to so many pages that are to be sent. */
class SentPagesTest {

  @Test
  void countsPagesThatAreNotClaimedAmongThoseAskedFor() {
    SentPages sent = new SentPages(1000);
    PageBitmap among = new PageBitmap(1000);
    among.setRange(100, 50);
    among.setRange(600, 50);
    sent.claimRange(110, 30);

    assertThat(sent.endOfUnclaimed(0, 10, among)).isEqualTo(110);
    assertThat(sent.endOfUnclaimed(0, 11, among)).isEqualTo(141);
    assertThat(sent.endOfUnclaimed(110, 11, among)).isEqualTo(601);
    assertThat(sent.endOfUnclaimed(0, 70, among)).isEqualTo(650);
    assertThat(sent.endOfUnclaimed(0, 71, among)).as("no more than that").isEqualTo(1000);
    assertThat(sent.endOfUnclaimed(1000, 1, among)).isEqualTo(1000);
  }
}
