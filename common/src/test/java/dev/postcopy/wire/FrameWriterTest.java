package dev.postcopy.wire;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufAllocator;
import io.netty.buffer.ByteBufUtil;
import java.util.HexFormat;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class FrameWriterTest {

  private final FrameWriter writer = new FrameWriter(ByteBufAllocator.DEFAULT);

  static Stream<SampleFrame> controlFrames() {
    return SampleFrame.all().stream().filter(f -> f.delivery() instanceof ControlFrame);
  }

  @ParameterizedTest
  @MethodSource("controlFrames")
  void writesEveryControlFrameByteForByte(SampleFrame frame) {
    assertThat(take(writer.control((ControlFrame) frame.delivery()))).isEqualTo(frame.bytes());
  }

  @Test
  void writesRunsAndAcknowledgements() {
    assertThat(take(writer.request(7, 64))).isEqualTo(new Bytes().u32(7).u32(64).asFrame(10));
    assertThat(take(writer.zero(0, Integer.MAX_VALUE)))
        .isEqualTo(new Bytes().u32(0).u32(Integer.MAX_VALUE).asFrame(12));
    assertThat(take(writer.ack(1L << 40))).isEqualTo(new Bytes().u64(1L << 40).asFrame(13));
    assertThat(take(writer.ping(7))).isEqualTo(new Bytes().u64(7).asFrame(18));
    assertThat(take(writer.pong(8))).isEqualTo(new Bytes().u64(8).asFrame(19));
  }

  /** As the wire has it since version 1, checksum and all. */
  @Test
  void writesTheBytesThatAnotherVersionOfTheAgentReads() {
    assertThat(HexFormat.of().formatHex(take(writer.request(5, 3))))
        .isEqualTo("50430a00000000084331c4a20000000500000003");
  }

  @Test
  void sealsPagesThatTheCallerWrote() {
    byte[] content = new Bytes().filler(2 * 4096).toArray();

    byte[] frame = take(writer.seal(writer.beginPages(9, 2).writeBytes(content)));

    assertThat(frame).isEqualTo(new Bytes().u32(9).u32(2).raw(content).asFrame(11));
  }

  @Test
  void sealsBitsThatTheCallerWrote() {
    byte[] bits = {(byte) 0x81, 0x02};

    assertThat(take(writer.seal(writer.beginReceived(64, 10).writeBytes(bits))))
        .isEqualTo(new Bytes().u32(64).u32(10).raw(bits).asFrame(20));
    assertThat(take(writer.seal(writer.beginDiscard(64, 10).writeBytes(bits))))
        .isEqualTo(new Bytes().u32(64).u32(10).raw(bits).asFrame(22));
  }

  @Test
  void sealsDeviceStateThatIsShorterThanAnnounced() {
    byte[] frame = take(writer.seal(writer.beginDeviceState(65536).writeBytes(new byte[] {1, 2})));

    assertThat(frame).isEqualTo(new Bytes().u8(1).u8(2).asFrame(5));
  }

  @Test
  void refusesToSealAFrameThatNobodyTakes() {
    ByteBuf frame = writer.beginPages(0, 65).writeZero(65 * 4096);

    assertThatIllegalArgumentException()
        .isThrownBy(() -> writer.seal(frame))
        .withMessageContaining("frame body of " + (8 + 65 * 4096) + " bytes");

    assertThat(frame.release()).isTrue();
  }

  @Test
  void shortensATextThatIsTooLong() {
    for (String letter : new String[] {"x", "ß", "—", "🐧"}) {
      RecordingSink sink = new RecordingSink();
      try (ReadingEnd end = new ReadingEnd(sink)) {
        end.receive(take(writer.control(new ControlFrame.Abort(letter.repeat(2000)))));

        assertThat(sink.frames)
            .singleElement()
            .asString()
            .startsWith("Abort[reason=" + letter.repeat(100));
      }
    }
  }

  @Test
  void writesATextOfTheGreatestLengthWhole() {
    String text = "x".repeat(1024);

    assertThat(take(writer.control(new ControlFrame.Abort(text))))
        .isEqualTo(new Bytes().raw(SampleFrame.text(text)).asFrame(17));
  }

  private static byte[] take(ByteBuf frame) {
    byte[] bytes = ByteBufUtil.getBytes(frame);
    assertThat(frame.release()).as("the caller held the only reference").isTrue();
    return bytes;
  }
}
