package dev.postcopy.memory;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RamBlockTest {

  @Test
  void countsItsPages() {
    assertThat(new RamBlock("mem", 3 * 4096).pageCount()).isEqualTo(3);
  }

  @Test
  void countsMorePagesThanAnIntHolds() {
    assertThat(new RamBlock("mem", Long.MAX_VALUE - 4095).pageCount())
        .as("2^63-4096 bytes")
        .isEqualTo((1L << 51) - 1);
  }

  @ParameterizedTest
  @ValueSource(longs = {0, -4096, Long.MIN_VALUE, 1, 4095, 4097, Long.MAX_VALUE})
  void refusesALengthThatIsNotWholePages(long byteLength) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new RamBlock("mem", byteLength))
        .withMessageContaining("RAM block mem: " + byteLength + " bytes");
  }

  @Test
  void refusesToBeWithoutAnId() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new RamBlock("", 4096))
        .withMessageContaining("needs an id");
  }
}
