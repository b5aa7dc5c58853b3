package dev.postcopy.wire;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Frames that were true once and were changed since: bits flipped, bytes cut out or put in, two
 * frames spliced, lengths and types exchanged. Most of them get a true checksum again, so that they
 * come as far as the body.
 */
class FrameFuzzTest {

  private static final int ROUNDS = 100_000;
  private static final int[] INTERESTING = {
    0,
    1,
    -1,
    2,
    63,
    64,
    65,
    255,
    256,
    257,
    1024,
    1025,
    4096,
    65535,
    65536,
    65537,
    262152,
    262153,
    Integer.MAX_VALUE,
    Integer.MIN_VALUE
  };

  private static final List<byte[]> SEEDS =
      SampleFrame.all().stream().map(SampleFrame::bytes).toList();

  @ParameterizedTest(name = "seed {0}")
  @ValueSource(longs = {20260101, 2, 3})
  void endsWithANamedCauseOrATrueFrameAndLosesNoBuffer(long seed) {
    Random random = new Random(seed);
    int refused = 0;
    int delivered = 0;
    for (int round = 0; round < ROUNDS; round++) {
      byte[] stream = mutate(random);
      RecordingSink sink = receive(random, stream, "seed %d, round %d".formatted(seed, round));
      refused += sink.cause().startsWith("protocol error") ? 1 : 0;
      delivered += sink.frames.size();
    }
    // A fuzzer that is always turned away at the door, or never, tests little.
    assertThat(refused).as("streams refused of %d", ROUNDS).isBetween(ROUNDS / 4, ROUNDS);
    assertThat(delivered).as("frames delivered").isGreaterThan(ROUNDS / 20);
  }

  /** What is delivered, written again, must be what was read, up to the first broken frame. */
  @Test
  void deliversOnlyWhatTheBytesSay() {
    Random random = new Random(4);
    for (int round = 0; round < ROUNDS; round++) {
      byte[] stream = mutate(random);
      RewritingSink sink = new RewritingSink();
      try (ReadingEnd end = new ReadingEnd(sink)) {
        end.receive(stream);
      }
      byte[] written = sink.written();
      assertThat(
              written.length <= stream.length
                  && Arrays.equals(written, 0, written.length, stream, 0, written.length))
          .as(
              "round %d: %s delivered as %s",
              round, HexFormat.of().formatHex(stream), HexFormat.of().formatHex(written))
          .isTrue();
    }
  }

  private static RecordingSink receive(Random random, byte[] stream, String where) {
    RecordingSink sink = new RecordingSink();
    try (ReadingEnd end = new ReadingEnd(sink)) {
      int cut = random.nextInt(stream.length + 1);
      end.receive(stream, 0, cut);
      end.receive(stream, cut, stream.length);
      if (!end.isOpen()) {
        assertThat(sink.cause())
            .as("%s: %s", where, HexFormat.of().formatHex(stream))
            .startsWith("protocol error: ")
            .doesNotContain("Exception", "null");
      }
    } catch (RuntimeException | AssertionError e) {
      throw new AssertionError(where + ": " + HexFormat.of().formatHex(stream), e);
    }
    assertThat(sink.closeCause).as(where + ": told that it is closed").isNotNull();
    return sink;
  }

  /** One to three frames, of which the last was changed one to three times. */
  private static byte[] mutate(Random random) {
    byte[] frame = seed(random).clone();
    int changes = 1 + random.nextInt(3);
    for (int i = 0; i < changes; i++) {
      frame = change(random, frame);
    }
    if (frame.length >= Bytes.HEADER && random.nextInt(8) != 0) {
      if (random.nextInt(8) != 0) {
        ByteBuffer.wrap(frame).putInt(4, frame.length - Bytes.HEADER);
      }
      Bytes.seal(frame);
    }
    List<byte[]> stream = new ArrayList<>();
    if (random.nextBoolean()) {
      stream.add(seed(random));
    }
    stream.add(frame);
    if (random.nextInt(4) == 0) {
      stream.add(seed(random));
    }
    return Bytes.concat(stream.toArray(byte[][]::new));
  }

  private static byte[] seed(Random random) {
    return SEEDS.get(random.nextInt(SEEDS.size()));
  }

  private static byte[] change(Random random, byte[] frame) {
    if (frame.length == 0) {
      return seed(random).clone();
    }
    // Half of the time near the beginning, where the fields are.
    int at = random.nextInt(random.nextBoolean() ? frame.length : Math.min(frame.length, 48));
    switch (random.nextInt(9)) {
      case 0 -> frame[at] ^= (byte) (1 << random.nextInt(8));
      case 1 -> frame[at] = (byte) random.nextInt();
      case 2 -> putInteresting(random, frame, at);
      case 3 -> putInteresting(random, frame, Bytes.HEADER + 4 * random.nextInt(6));
      case 4 -> putInteresting(random, frame, 4);
      case 5 -> frame[Math.min(2, frame.length - 1)] = (byte) (1 + random.nextInt(20));
      case 6 -> {
        return Arrays.copyOf(frame, at);
      }
      case 7 -> {
        byte[] more = new byte[1 + random.nextInt(16)];
        random.nextBytes(more);
        return Bytes.concat(
            Arrays.copyOf(frame, at), more, Arrays.copyOfRange(frame, at, frame.length));
      }
      default -> {
        byte[] other = seed(random);
        int from = random.nextInt(other.length);
        return Bytes.concat(
            Arrays.copyOf(frame, at), Arrays.copyOfRange(other, from, other.length));
      }
    }
    return frame;
  }

  private static void putInteresting(Random random, byte[] frame, int at) {
    int value = INTERESTING[random.nextInt(INTERESTING.length)];
    if (random.nextBoolean() && at + 4 <= frame.length) {
      ByteBuffer.wrap(frame).putInt(at, value);
    } else if (at + 2 <= frame.length) {
      ByteBuffer.wrap(frame).putShort(at, (short) value);
    }
  }
}
