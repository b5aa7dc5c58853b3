package dev.postcopy.transport;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class ClockSkewTest {

  @Test
  void aTimeBetweenQuestionAndAnswerSaysNothing() {
    assertThat(ClockSkew.of(1000, 1000, 9000)).isEqualTo(new ClockSkew(0));
    assertThat(ClockSkew.of(1000, 9000, 9000)).isEqualTo(new ClockSkew(0));
  }

  @Test
  void aTimeOutsideIsWrongByWhatItIsOutside() {
    assertThat(ClockSkew.of(5000, 1000, 9000)).isEqualTo(new ClockSkew(-4000));
    assertThat(ClockSkew.of(5000, 12_500, 9000)).isEqualTo(new ClockSkew(3500));
  }

  @Test
  void whatAnOperatorHasToKnowIsToldWithItsSign() {
    assertThat(new ClockSkew(-1999).isNotable()).isFalse();
    assertThat(new ClockSkew(-2000).isNotable()).isTrue();
    assertThat(new ClockSkew(-2000).ofTheDestination()).contains("2.0 s behind this host's");
    assertThat(new ClockSkew(3500).ofTheDestination()).contains("3.5 s ahead of this host's");
  }
}
