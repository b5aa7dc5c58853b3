package dev.postcopy.wire;

import static dev.postcopy.wire.SampleFrame.hello;
import static dev.postcopy.wire.SampleFrame.text;
import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class FrameReaderTest {

  private static final byte[] READY = new Bytes().asFrame(4);
  private static final byte[] REQUEST = new Bytes().u32(5).u32(1).asFrame(10);

  private final RecordingSink sink = new RecordingSink();

  @ParameterizedTest
  @MethodSource("dev.postcopy.wire.SampleFrame#all")
  void deliversAFrameOfEveryType(SampleFrame frame) {
    try (ReadingEnd end = new ReadingEnd(sink)) {
      end.receive(frame.bytes());

      assertThat(sink.frames).containsExactly(frame.noted());
      assertThat(end.isOpen()).as("the connection stays open").isTrue();
      assertThat(end.heldBytes()).as("held after delivery").isZero();
    }
  }

  @Test
  void hasASampleOfEveryType() {
    assertThat(SampleFrame.all().stream().map(SampleFrame::code).distinct())
        .hasSize(FrameType.values().length);
  }

  @Test
  void deliversTheSameWhereverTheStreamIsCutInTwo() {
    byte[] stream = streamOfAll();
    for (int cut = 1; cut < stream.length; cut++) {
      RecordingSink pieces = new RecordingSink();
      try (ReadingEnd end = new ReadingEnd(pieces)) {
        end.receive(stream, 0, cut);
        end.receive(stream, cut, stream.length);
      }
      assertThat(pieces.frames).as("cut at byte %d", cut).isEqualTo(notesOfAll());
    }
  }

  @Test
  void deliversTheSameByteByByte() {
    byte[] stream = streamOfAll();
    try (ReadingEnd end = new ReadingEnd(sink)) {
      for (int i = 0; i < stream.length; i++) {
        end.receive(stream, i, i + 1);
      }
    }
    assertThat(sink.frames).isEqualTo(notesOfAll());
  }

  @Test
  void takesTheLargestFrames() {
    byte[] content = new Bytes().filler(64 * 4096).toArray();
    byte[] state = new Bytes().filler(65536).toArray();
    try (ReadingEnd end = new ReadingEnd(sink)) {
      end.receive(new Bytes().u32(0).u32(64).raw(content).asFrame(11));
      end.receive(new Bytes().raw(state).asFrame(5));
    }
    assertThat(sink.frames)
        .containsExactly(RecordingSink.pages(0, 64, content), RecordingSink.deviceState(state));
  }

  @Test
  void takesTheLongestNameOfAVm() {
    String name = "é".repeat(64);
    try (ReadingEnd end = new ReadingEnd(sink)) {
      end.receive(hello(Wire.VERSION, 0, 0, text(name), 0).asFrame(1));
    }
    assertThat(sink.frames).hasSize(1);
    assertThat(sink.frames.getFirst()).contains("vm=" + name + ",");
  }

  @Test
  void tellsOnlyTheVersionOfAnotherVersionsHello() {
    try (ReadingEnd end = new ReadingEnd(sink)) {
      end.receive(new Bytes().u16(Wire.VERSION + 1).filler(1000).asFrame(1));

      assertThat(sink.frames)
          .containsExactly(
              new ControlFrame.Hello(
                      Wire.VERSION + 1,
                      new UUID(0, 0),
                      ControlFrame.ConnectionRole.DEMAND,
                      0,
                      "",
                      List.of())
                  .toString());
      assertThat(end.isOpen()).as("open, so that the refusal can be sent").isTrue();
    }
  }

  @Test
  void tellsOnlyTheVersionOfAnotherVersionsWelcome() {
    try (ReadingEnd end = new ReadingEnd(sink)) {
      end.receive(new Bytes().u16(65535).filler(7).asFrame(2));

      assertThat(sink.frames)
          .containsExactly(
              new ControlFrame.Welcome(65535, ControlFrame.Standing.NEW, 0).toString());
    }
  }

  @Test
  void tellsOnceThatThePeerClosed() {
    try (ReadingEnd end = new ReadingEnd(sink)) {
      end.receive(REQUEST);
    }
    assertThat(sink.cause()).isEqualTo("the peer closed the connection");
  }

  @Test
  void deliversNothingOfAFrameThatNeverEnds() {
    byte[] frame = new Bytes().u32(0).u32(1).filler(4096).asFrame(11);
    try (ReadingEnd end = new ReadingEnd(sink)) {
      end.receive(frame, 0, frame.length - 1);
    }
    assertThat(sink.frames).isEmpty();
    assertThat(sink.cause()).isEqualTo("the peer closed the connection");
  }

  /**
   * What breaks the protocol.
   *
   * @param cause what the operator is told
   */
  record Broken(String what, Bytes stream, String cause) {

    static Broken of(String what, byte[] stream, String cause) {
      return new Broken(what, new Bytes().raw(stream), cause);
    }

    byte[] bytes() {
      return stream.toArray();
    }

    @Override
    public String toString() {
      return what;
    }
  }

  static Stream<Broken> brokenFrames() {
    List<Broken> broken = new ArrayList<>();
    broken.add(Broken.of("wrong magic", ascii("GET / HTTP/1.1\r\n"), "does not speak this"));
    broken.add(Broken.of("magic, backwards", ascii("CP__________"), "does not speak this"));
    broken.add(Broken.of("half a magic", ascii("PX"), "does not speak this protocol"));
    broken.add(length("length -1", 0xFFFFFFFF));
    broken.add(length("length MIN_VALUE", 0x80000000));
    broken.add(length("length MAX_VALUE", 0x7FFFFFFF));
    broken.add(length("length one too large", Bytes.MAX_BODY + 1));
    for (int code : new int[] {0, 23, 31, 32, 127, 128, 255}) {
      broken.add(frame("type " + code, code, new Bytes(), "frame of unknown type " + code));
    }
    byte[] reserved = REQUEST.clone();
    reserved[3] = (byte) 0x80;
    broken.add(Broken.of("reserved byte", Bytes.seal(reserved), "reserved byte of value 128"));
    for (int at : new int[] {2, 3, 8, 11, 12, 15, 19}) {
      byte[] flipped = REQUEST.clone();
      flipped[at] ^= 1;
      broken.add(Broken.of("bit flipped in byte " + at, flipped, "checksum "));
    }

    addRunErrors(broken);
    addNumberErrors(broken);
    addHelloErrors(broken);
    addTextErrors(broken);
    return broken.stream();
  }

  private static void addRunErrors(List<Broken> broken) {
    for (int code : new int[] {10, 11, 12}) {
      String type = FrameType.of(code) + ": ";
      broken.add(frame(type + "no body", code, new Bytes(), "too short"));
      broken.add(frame(type + "half a page number", code, new Bytes().u16(0), "too short"));
      broken.add(frame(type + "no count", code, new Bytes().u32(0), "too short"));
      broken.add(frame(type + "half a count", code, new Bytes().u32(0).u16(0), "too short"));
      broken.add(run(type + "0 pages", code, 0, 0, "a run of 0 pages"));
      broken.add(run(type + "count -1", code, 0, -1, "out of range: 4294967295"));
      broken.add(run(type + "count MIN", code, 0, 1 << 31, "out of range: 2147483648"));
      broken.add(run(type + "page -1", code, -1, 1, "out of range: 4294967295"));
    }
    for (int code : new int[] {10, 11}) {
      String type = FrameType.of(code) + ": ";
      broken.add(run(type + "65 pages", code, 0, 65, "a run of 65 pages"));
      broken.add(run(type + "MAX pages", code, 0, Integer.MAX_VALUE, "a run of 2147483647 pages"));
    }
    broken.add(run("PAGES: no content", 11, 0, 1, "0 bytes for 1 pages"));
    for (int byteLength : new int[] {1, 4095, 4097, 8191, 8193}) {
      broken.add(
          frame(
              "PAGES: two pages of %d bytes".formatted(byteLength),
              11,
              new Bytes().u32(0).u32(2).filler(byteLength),
              byteLength + " bytes for 2 pages"));
    }
  }

  private static void addNumberErrors(List<Broken> broken) {
    broken.add(frame("ACK: too short", 13, new Bytes().u32(0).u16(0), "too short"));
    broken.add(frame("PING: negative", 18, new Bytes().u64(-1), "18446744073709551615"));
    broken.add(frame("PONG: negative", 19, new Bytes().u64(-1), "18446744073709551615"));
    broken.add(frame("PING: long", 18, new Bytes().u64(1).u8(0), "1 bytes too many"));
    broken.add(frame("ACK: negative", 13, new Bytes().u64(-1), "18446744073709551615"));
    broken.add(frame("DEVICE_STATE: long", 5, new Bytes().filler(65537), "device state of 65537"));
    broken.add(frame("DEVICE_STATE_END: short", 6, new Bytes().u32(0), "too short"));
    broken.add(frame("DEVICE_STATE_END: negative", 6, new Bytes().u64(-2), "out of range"));
    broken.add(frame("WELCOME: short", 2, new Bytes().u8(0), "too short"));
    broken.add(frame("WELCOME: no standing", 2, new Bytes().u16(Wire.VERSION), "too short"));
    broken.add(frame("WELCOME: standing", 2, new Bytes().u16(Wire.VERSION).u8(4), "standing 4"));
    broken.add(frame("RECEIVED: 0 pages", 20, new Bytes().u32(0).u32(0), "a run of 0 pages"));
    broken.add(
        frame(
            "RECEIVED: too many",
            20,
            new Bytes().u32(0).u32((1 << 20) + 1),
            "a run of 1048577 pages"));
    broken.add(
        frame("RECEIVED: bits", 20, new Bytes().u32(0).u32(9).u8(1), "1 bytes for the bits of 9"));
    broken.add(frame("DISCARD: 0 pages", 22, new Bytes().u32(0).u32(0), "a run of 0 pages"));
    broken.add(
        frame(
            "DISCARD: too many",
            22,
            new Bytes().u32(0).u32((1 << 20) + 1),
            "a run of 1048577 pages"));
    broken.add(
        frame("DISCARD: bits", 22, new Bytes().u32(0).u32(8).u16(1), "2 bytes for the bits of 8"));
    broken.add(frame("COMMIT: short", 8, new Bytes(), "too short"));
    broken.add(frame("COMMIT: maybe", 8, new Bytes().u8(2), "flag of value 2"));
    broken.add(frame("COMMIT: -1", 8, new Bytes().u8(255), "flag of value 255"));
    broken.add(frame("END: short", 14, new Bytes().u32(0).u16(0), "too short"));
    broken.add(frame("END: negative", 14, new Bytes().u32(0).u32(-1), "out of range"));
    broken.add(frame("COMPLETE: short", 15, new Bytes().raw(new byte[55]), "too short"));
    broken.add(
        frame("COMPLETE: negative", 15, new Bytes().u32(-1).raw(new byte[52]), "out of range"));
    broken.add(frame("CONFIRMED: short", 16, new Bytes().u64(0).u64(0).u32(0), "too short"));
    broken.add(frame("CONFIRMED: negative", 16, new Bytes().u64(0).u64(0).u64(-1), "out of range"));
    for (SampleFrame sample : SampleFrame.all()) {
      if (sample.code() != 5 && sample.code() != 11 && sample.code() != 20 && sample.code() != 22) {
        byte[] longer = Bytes.concat(sample.body().toArray(), new byte[3]);
        broken.add(
            frame(
                "3 bytes behind " + sample.noted(),
                sample.code(),
                new Bytes().raw(longer),
                "3 bytes too many"));
      }
    }
  }

  private static void addHelloErrors(List<Broken> broken) {
    broken.add(frame("HELLO: empty", 1, new Bytes(), "too short"));
    broken.add(frame("HELLO: version only", 1, new Bytes().u16(Wire.VERSION), "too short"));
    broken.add(
        frame("HELLO: half a session", 1, new Bytes().u16(Wire.VERSION).u64(0), "too short"));
    broken.add(frame("HELLO: role 3", 1, hello(Wire.VERSION, 3, 0, 0), "connection role 3"));
    broken.add(
        frame(
            "HELLO: vm of 129 bytes",
            1,
            hello(Wire.VERSION, 0, 0, text("v".repeat(129)), 0),
            "text of 129 bytes"));
    broken.add(frame("HELLO: 257 blocks", 1, hello(Wire.VERSION, 0, 0, 257), "257 RAM blocks"));
    broken.add(
        frame("HELLO: 65535 blocks", 1, hello(Wire.VERSION, 0, 0, 65535), "65535 RAM blocks"));
    broken.add(frame("HELLO: a block missing", 1, hello(Wire.VERSION, 0, 0, 1), "too short"));
    broken.add(
        frame(
            "HELLO: no block length",
            1,
            hello(Wire.VERSION, 0, 0, 1).raw(text("m")).u32(0),
            "too short"));
    broken.add(
        frame(
            "HELLO: block without id",
            1,
            hello(Wire.VERSION, 0, 0, 1).raw(text("")).u64(4096),
            "needs an id"));
    for (long byteLength : new long[] {0, 1, 4097}) {
      broken.add(
          frame(
              "HELLO: block of %d bytes".formatted(byteLength),
              1,
              hello(Wire.VERSION, 0, 0, 1).raw(text("m")).u64(byteLength),
              byteLength + " bytes are not whole pages"));
    }
    broken.add(
        frame(
            "HELLO: block of -4096",
            1,
            hello(Wire.VERSION, 0, 0, 1).raw(text("m")).u64(-4096),
            "out of range"));
  }

  private static void addTextErrors(List<Broken> broken) {
    byte[] longest = text("x".repeat(1025));
    broken.add(frame("ABORT: long", 17, new Bytes().raw(longest), "text of 1025 bytes"));
    broken.add(frame("ABORT: length 65535", 17, new Bytes().u16(65535), "text of 65535 bytes"));
    broken.add(frame("ABORT: cut", 17, new Bytes().u16(5).raw(ascii("four")), "too short"));
    broken.add(frame("ABORT: no length", 17, new Bytes().u8(0), "too short"));
    broken.add(frame("REFUSE: one text", 3, new Bytes().raw(text("why")), "too short"));
    byte[][] malformed = {
      {(byte) 0xff}, // never in UTF-8
      {(byte) 0xc3}, // cut in a character
      {(byte) 0xc0, (byte) 0x80}, // NUL, overlong
      {(byte) 0xed, (byte) 0xa0, (byte) 0x80}, // half a surrogate pair
    };
    for (byte[] bytes : malformed) {
      Bytes body = new Bytes().u16(bytes.length).raw(bytes);
      broken.add(frame("ABORT: %02x…".formatted(bytes[0]), 17, body, "text that is not UTF-8"));
    }
  }

  @ParameterizedTest
  @MethodSource("brokenFrames")
  void closesAndNamesTheCause(Broken broken) {
    try (ReadingEnd end = new ReadingEnd(sink)) {
      end.receive(broken.bytes());

      assertThat(end.isOpen()).as("open after a broken frame").isFalse();
      assertThat(sink.cause()).startsWith("protocol error: ").contains(broken.cause());
      assertThat(sink.cause().lines()).as("lines of the cause").hasSize(1);
    }
  }

  @ParameterizedTest
  @MethodSource("brokenFrames")
  void closesAlsoBehindAGoodFrameAndInPieces(Broken broken) {
    try (ReadingEnd end = new ReadingEnd(sink)) {
      end.receive(READY);
      byte[] bytes = broken.bytes();
      end.receive(bytes, 0, 1);
      end.receive(bytes, 1, bytes.length);

      assertThat(end.isOpen()).as("open after a broken frame").isFalse();
      assertThat(sink.frames.getFirst()).isEqualTo("Ready[]");
      assertThat(sink.cause()).startsWith("protocol error: ").contains(broken.cause());
    }
  }

  /** All but those of {@link #deliversNothingOfAFrameThatIsTooLong}. */
  static Stream<Broken> brokenFramesButTooLong() {
    return brokenFrames().filter(b -> !b.what().matches("3 bytes behind (REQUEST|ZERO|ACK).*"));
  }

  @ParameterizedTest
  @MethodSource("brokenFramesButTooLong")
  void deliversNothingOfABrokenFrame(Broken broken) {
    try (ReadingEnd end = new ReadingEnd(sink)) {
      end.receive(broken.bytes());
    }
    assertThat(sink.frames).isEmpty();
  }

  @ParameterizedTest
  @ValueSource(ints = {10, 12, 13})
  void deliversNothingOfAFrameThatIsTooLong(int code) {
    try (ReadingEnd end = new ReadingEnd(sink)) {
      end.receive(new Bytes().u32(0).u32(1).u8(0).asFrame(code));
    }
    assertThat(sink.frames).isEmpty();
  }

  @Test
  void deliversNothingBehindABrokenFrame() {
    byte[] flipped = REQUEST.clone();
    flipped[15] ^= 1;
    try (ReadingEnd end = new ReadingEnd(sink)) {
      end.receive(Bytes.concat(REQUEST, flipped, REQUEST));
    }
    assertThat(sink.frames).as("frames before the broken one").containsExactly("REQUEST 5+1");
  }

  static Stream<SampleFrame> framesOfTheConversation() {
    return SampleFrame.oneOfEveryType().stream()
        .filter(frame -> frame.delivery() instanceof ControlFrame);
  }

  @ParameterizedTest
  @MethodSource("framesOfTheConversation")
  void closesOnAFrameOfTheConversationThatComesTwice(SampleFrame frame) {
    try (ReadingEnd end = new ReadingEnd(sink)) {
      end.receive(Bytes.concat(frame.bytes(), frame.bytes()));
    }
    assertThat(sink.frames).containsExactly(frame.noted());
    assertThat(sink.cause()).startsWith("protocol error: a second ");
  }

  @Test
  void namesTheFirstCauseOfSeveral() {
    byte[] flipped = REQUEST.clone();
    flipped[15] ^= 1;
    try (ReadingEnd end = new ReadingEnd(sink)) {
      end.receive(Bytes.concat(flipped, new Bytes().asFrame(99)));
    }
    assertThat(sink.cause()).startsWith("protocol error: checksum");
  }

  @Test
  void holdsNoMoreThanOneFrameOfAPeerThatSendsWithoutEnd() {
    byte[] first = new Bytes().u32(0).u32(64).filler(64 * 4096).asFrame(11);
    try (ReadingEnd end = new ReadingEnd(sink)) {
      long most = 0;
      for (int round = 0; round < 20; round++) {
        for (int at = 0; at < first.length; at += 4096) {
          end.receive(first, at, Math.min(first.length, at + 4096));
          most = Math.max(most, end.heldBytes());
        }
      }
      assertThat(sink.frames).as("frames delivered").hasSize(20);
      // The cutter's own buffer grows in steps: to the next power of two, and one copy meanwhile.
      assertThat(most).as("bytes held at the most").isLessThan(4L * first.length);
    }
  }

  @ParameterizedTest
  @MethodSource("dev.postcopy.wire.SampleFrame#all")
  void closesWhereNobodyExpectsTheFrame(SampleFrame frame) {
    List<String> causes = new ArrayList<>();
    try (ReadingEnd end = new ReadingEnd(cause -> causes.add(cause.text()))) {
      end.receive(frame.bytes());
      assertThat(end.isOpen()).isFalse();
    }
    assertThat(causes)
        .singleElement()
        .asString()
        .startsWith("protocol error: unexpected ")
        .endsWith(" frame");
  }

  private static Broken length(String what, int byteLength) {
    byte[] header = new Bytes().u16(0x5043).u8(11).u8(0).u32(byteLength).u32(0).toArray();
    return Broken.of(what, header, "frame length exceeds 262164");
  }

  private static Broken run(String what, int code, int first, int count, String cause) {
    return frame(what, code, new Bytes().u32(first).u32(count), cause);
  }

  private static Broken frame(String what, int code, Bytes body, String cause) {
    return Broken.of(what, body.asFrame(code), cause);
  }

  private static byte[] ascii(String text) {
    byte[] bytes = new byte[text.length()];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) text.charAt(i);
    }
    return bytes;
  }

  private static byte[] streamOfAll() {
    return Bytes.concat(
        SampleFrame.oneOfEveryType().stream().map(SampleFrame::bytes).toArray(byte[][]::new));
  }

  private static List<String> notesOfAll() {
    return SampleFrame.oneOfEveryType().stream().map(SampleFrame::noted).toList();
  }
}
