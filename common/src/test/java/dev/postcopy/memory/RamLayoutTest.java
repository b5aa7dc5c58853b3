package dev.postcopy.memory;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class RamLayoutTest {

  private static final long PAGE = RamLayout.PAGE_BYTES;

  /** Pages 0..9 in "a", page 10 in "b", pages 11..30 in "c". */
  private static final RamLayout THREE_BLOCKS =
      layout(block("a", 10), block("b", 1), block("c", 20));

  @Test
  void numbersThePagesBlockAfterBlock() {
    assertThat(THREE_BLOCKS.pageCount()).isEqualTo(31);
    assertThat(THREE_BLOCKS.byteLength()).isEqualTo(31 * PAGE);
    assertThat(THREE_BLOCKS.firstPageOf(0)).isZero();
    assertThat(THREE_BLOCKS.endPageOf(0)).isEqualTo(10);
    assertThat(THREE_BLOCKS.firstPageOf(1)).isEqualTo(10);
    assertThat(THREE_BLOCKS.endPageOf(1)).isEqualTo(11);
    assertThat(THREE_BLOCKS.firstPageOf(2)).isEqualTo(11);
    assertThat(THREE_BLOCKS.endPageOf(2)).isEqualTo(31);
  }

  @ParameterizedTest(name = "page {0} is in block {1} at page {2}")
  @CsvSource({"0,0,0", "9,0,9", "10,1,0", "11,2,0", "30,2,19"})
  void findsTheBlockOfAPageAndItsPlaceThere(int page, int block, int pageInBlock) {
    assertThat(THREE_BLOCKS.blockOf(page)).isEqualTo(block);
    assertThat(THREE_BLOCKS.byteOffsetInBlock(page, block)).isEqualTo(pageInBlock * PAGE);
  }

  @Test
  void givesOffsetsBeyondFourGigabytes() {
    RamLayout large = layout(block("a", 1), block("b", 3_000_000));

    assertThat(large.byteOffsetInBlock(3_000_000, 1)).isEqualTo(2_999_999 * PAGE);
    assertThat(large.byteLength()).isEqualTo(3_000_001 * PAGE);
  }

  @ParameterizedTest(name = "{0}+{1}: {2}")
  @CsvSource({
    "0,1,true",
    "0,10,true",
    "9,1,true",
    "10,1,true",
    "11,20,true",
    "30,1,true",
    // across the end of a block
    "0,11,false",
    "9,2,false",
    "10,2,false",
    // beyond the last page
    "30,2,false",
    "31,1,false",
    "2147483647,1,false",
    // first + count wraps around
    "1,2147483647,false",
    "30,2147483647,false",
    // nonsense
    "-1,1,false",
    "-2147483648,1,false",
    "0,0,false",
    "5,-1,false",
    "5,-2147483648,false",
  })
  void takesARunOnlyWithinOneBlock(int first, int count, boolean accepted) {
    assertThat(THREE_BLOCKS.isRunInOneBlock(first, count))
        .as("run %d+%d of blocks of 10, 1 and 20 pages", first, count)
        .isEqualTo(accepted);
  }

  @Test
  void holdsAsManyPagesAsAnIntCounts() {
    RamLayout largest = layout(block("a", Integer.MAX_VALUE - 1L), block("b", 1));

    assertThat(largest.pageCount()).isEqualTo(Integer.MAX_VALUE);
    assertThat(largest.isRunInOneBlock(Integer.MAX_VALUE - 1, 1)).as("the last page").isTrue();
    assertThat(largest.isRunInOneBlock(Integer.MAX_VALUE - 2, 2))
        .as("the last two pages, of different blocks")
        .isFalse();
  }

  @Test
  void refusesMorePagesThanAnIntCounts() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> layout(block("a", Integer.MAX_VALUE), block("b", 1)))
        .withMessageContaining("more guest RAM than 8 TiB");
    assertThatIllegalArgumentException()
        .as("a sum that would wrap around a long")
        .isThrownBy(() -> layout(block("a", (1L << 51) - 1), block("b", (1L << 51) - 1)))
        .withMessageContaining("more guest RAM than 8 TiB");
  }

  @Test
  void refusesNoBlocksAndTwoOfOneId() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> layout())
        .withMessageContaining("without RAM blocks");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> layout(block("a", 1), block("a", 2)))
        .withMessageContaining("same id");
  }

  @Test
  void findsNoDifferenceInEqualLayouts() {
    assertThat(
            layout(block("a", 1), block("b", 2)).differenceTo(layout(block("a", 1), block("b", 2))))
        .isEmpty();
  }

  @Test
  void tellsTheDifferenceInWordsForAnOperator() {
    RamLayout source = layout(block("mem0", 65536), block("mem1", 256));
    RamLayout destination = layout(block("mem0", 131072));

    assertThat(source.differenceTo(destination))
        .contains("source has mem0 (256 MiB) + mem1 (1 MiB), destination has mem0 (512 MiB)");
  }

  @Test
  void seesADifferenceInIdAndInOrder() {
    RamLayout layout = layout(block("a", 1), block("b", 1));

    assertThat(layout.differenceTo(layout(block("a", 1), block("c", 1)))).as("ids").isPresent();
    assertThat(layout.differenceTo(layout(block("b", 1), block("a", 1)))).as("order").isPresent();
  }

  private static RamLayout layout(RamBlock... blocks) {
    return new RamLayout(List.of(blocks));
  }

  private static RamBlock block(String id, long pages) {
    return new RamBlock(id, pages * PAGE);
  }
}
