package dev.postcopy.wire;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class CorpusTest {

  @ParameterizedTest
  @MethodSource("dev.postcopy.wire.CorpusFrame#all")
  void endsAsItsFileSays(CorpusFrame frame) {
    assertThat(ending(frame.bytes(), frame.bytes().length)).isEqualTo(frame.ending());
  }

  @ParameterizedTest
  @MethodSource("dev.postcopy.wire.CorpusFrame#all")
  void endsAsItsFileSaysAlsoByteByByte(CorpusFrame frame) {
    assertThat(ending(frame.bytes(), 1)).isEqualTo(frame.ending());
  }

  @Test
  void hasAFrameOfEveryTypeThatIsDelivered() {
    List<Integer> codes = new ArrayList<>();
    for (CorpusFrame frame : CorpusFrame.all()) {
      if (frame.ending().equals("stays open")) {
        codes.add((int) frame.bytes()[2]);
      }
    }
    for (FrameType type : FrameType.values()) {
      assertThat(codes).as(type.name()).contains((int) type.code);
    }
  }

  private static String ending(byte[] bytes, int step) {
    RecordingSink sink = new RecordingSink();
    try (ReadingEnd end = new ReadingEnd(sink)) {
      for (int at = 0; at < bytes.length; at += step) {
        end.receive(bytes, at, Math.min(bytes.length, at + step));
      }
      return end.isOpen() ? "stays open" : sink.cause();
    }
  }
}
