package dev.postcopy.dest.attach;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import java.util.List;
import org.junit.jupiter.api.Test;

class GuestRamTest {

  private static final int PAGE = RamLayout.PAGE_BYTES;
  private static final long LOW = 0x7f00_0000_0000L;
  private static final long HIGH = 0x7fff_ffff_0000L;

  /** The block that comes first in the layout lies higher in QEMU, and is not next to the other. */
  private static final GuestRam RAM =
      GuestRam.at(
          new RamLayout(List.of(new RamBlock("m0", 3 * PAGE), new RamBlock("m1", 5 * PAGE))),
          HIGH,
          LOW);

  @Test
  void findsEachPageAtItsOffsetInItsOwnBlock() {
    assertThat(RAM.addressOf(0)).isEqualTo(HIGH);
    assertThat(RAM.addressOf(2)).isEqualTo(HIGH + 2 * PAGE);
    assertThat(RAM.addressOf(3)).isEqualTo(LOW);
    assertThat(RAM.addressOf(7)).isEqualTo(LOW + 4 * PAGE);
  }

  @Test
  void turnsEveryAddressOfAPageBackIntoThatPage() {
    for (int page = 0; page < RAM.layout().pageCount(); page++) {
      assertThat(RAM.pageOf(RAM.addressOf(page))).isEqualTo(page);
      assertThat(RAM.pageOf(RAM.addressOf(page) + PAGE - 1)).isEqualTo(page);
    }
  }

  @Test
  void knowsNoPageForAnAddressBesideTheBlocks() {
    assertThat(RAM.pageOf(LOW - 1)).isEqualTo(-1);
    assertThat(RAM.pageOf(LOW + 5 * PAGE)).isEqualTo(-1);
    assertThat(RAM.pageOf(HIGH - 1)).isEqualTo(-1);
    assertThat(RAM.pageOf(HIGH + 3 * PAGE)).isEqualTo(-1);
    assertThat(RAM.pageOf(0)).isEqualTo(-1);
    assertThat(RAM.pageOf(-PAGE)).isEqualTo(-1);
  }
}
