package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class RemoteAddressTest {
  private static final RemoteAddress LOW = new RemoteAddress(0x7fff_0000_0000L);
  private static final RemoteAddress HIGH = new RemoteAddress(0xffff_ffff_ff60_0000L);

  @Test
  void comparesUnsigned() {
    assertThat(HIGH).as("an address with the top bit set").isGreaterThan(LOW);
    assertThat(LOW).isLessThan(HIGH).isEqualByComparingTo(new RemoteAddress(LOW.value()));
  }

  @Test
  void prints16DigitAddressesWithoutASign() {
    assertThat(HIGH).hasToString("0xffffffffff600000");
  }

  @Test
  void countsBytesBetweenAddresses() {
    assertThat(LOW.plus(4096).minus(LOW)).isEqualTo(4096);
  }

  @Test
  void aRangeContainsItsStartAndNotItsEnd() {
    RemoteRange range = new RemoteRange(LOW, 4096);

    assertThat(range.contains(LOW)).as("start").isTrue();
    assertThat(range.contains(LOW.plus(4095))).as("last byte").isTrue();
    assertThat(range.contains(range.end())).as("end").isFalse();
    assertThat(range.contains(LOW.plus(-1))).as("byte before").isFalse();
  }

  @Test
  void aRangeAcrossTheSignBitContainsWhatIsInIt() {
    RemoteRange range = new RemoteRange(new RemoteAddress(0x7fff_ffff_ffff_f000L), 0x2000);

    assertThat(range.contains(new RemoteAddress(0x8000_0000_0000_0000L))).isTrue();
    assertThat(range.contains(new RemoteAddress(0))).isFalse();
  }
}
