package dev.postcopy.wire;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Frames that were true once and were changed since.
 *
 * <p>{@code fuzz.frames} is how many broken frames are read in all, {@code fuzz.seed} what they are
 * made from.
 */
@Timeout(value = 3600, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class FrameFuzzTest {

  private static final int FRAMES = Integer.getInteger("fuzz.frames", 300_000);
  private static final long SEED = Long.getLong("fuzz.seed", 20260101);

  private static final String PEER_CLOSED = "the peer closed the connection";

  /** A read of the largest frame, the copy that completes it, and that copy while it grows. */
  private static final long MOST_BYTES = 4L * (Bytes.HEADER + Bytes.MAX_BODY);

  private static final List<byte[]> TRUE_FRAMES =
      Stream.concat(
              SampleFrame.all().stream().map(SampleFrame::bytes),
              CorpusFrame.all().stream().map(CorpusFrame::bytes))
          .filter(frame -> frame.length >= Bytes.HEADER)
          .toList();

  @Test
  void endsWithANamedCauseOrATrueFrameAndKeepsNoBuffer() {
    FrameMutator mutator = new FrameMutator(SEED, TRUE_FRAMES);
    Map<String, Integer> closings = new TreeMap<>();
    int delivered = 0;
    long peakBytes = 0;
    long startNanos = System.nanoTime();
    for (int round = 0; round < FRAMES; round++) {
      byte[] stream = mutator.stream();
      RecordingSink sink = new RecordingSink();
      peakBytes = Math.max(peakBytes, receive(mutator, stream, sink, round));
      delivered += sink.frames.size();
      if (!isNamed(sink.cause())) {
        throw new AssertionError(where(round, stream) + " ended with: " + sink.cause());
      }
      closings.merge(withoutNumbers(sink.cause()), 1, Integer::sum);
    }
    System.out.printf(
        "%d broken frames of seed %d in %d s, %d frames delivered, at most %d bytes of buffer%n",
        FRAMES, SEED, (System.nanoTime() - startNanos) / 1_000_000_000, delivered, peakBytes);
    closings.forEach((cause, times) -> System.out.printf("%9d %s%n", times, cause));

    assertThat(peakBytes).as("bytes of buffer").isLessThan(MOST_BYTES);
    // A fuzzer that is always turned away at the door, or never, tests little.
    int unbroken = closings.getOrDefault(PEER_CLOSED, 0);
    assertThat(unbroken)
        .as("streams of %d that nothing was wrong with", FRAMES)
        .isBetween(1, FRAMES / 2);
    assertThat(delivered).as("frames delivered").isGreaterThan(FRAMES / 4);
    assertThat(closings).as("kinds of causes").hasSizeBetween(16, 64);
  }

  /** What is delivered, written again, must be what was read, up to the first broken frame. */
  @Test
  void deliversOnlyWhatTheBytesSay() {
    FrameMutator mutator = new FrameMutator(SEED + 1, TRUE_FRAMES);
    for (int round = 0; round < FRAMES / 3; round++) {
      byte[] stream = mutator.stream();
      RewritingSink sink = new RewritingSink();
      receive(mutator, stream, sink, round);
      byte[] written = sink.written();
      if (written.length > stream.length
          || !Arrays.equals(written, 0, written.length, stream, 0, written.length)) {
        throw new AssertionError(
            where(round, stream) + " delivered as " + HexFormat.of().formatHex(written));
      }
    }
  }

  /** Reads a stream in pieces; returns the most bytes of buffer that it took. */
  private static long receive(FrameMutator mutator, byte[] stream, FrameSink sink, int round) {
    ReadingEnd end = new ReadingEnd(sink);
    try (end) {
      int from = 0;
      for (int cut : mutator.cuts(stream.length)) {
        end.receive(stream, from, cut);
        from = cut;
      }
    } catch (Throwable e) {
      throw new AssertionError(where(round, stream), e);
    }
    return end.peakBytes();
  }

  private static boolean isNamed(String cause) {
    return cause.equals(PEER_CLOSED)
        || (cause.startsWith("protocol error: ") && !cause.matches(".*(Exception|null|\\R).*"));
  }

  private static String where(int round, byte[] stream) {
    return "seed %d, round %d: %s".formatted(SEED, round, HexFormat.of().formatHex(stream));
  }

  private static String withoutNumbers(String cause) {
    return cause
        .replaceAll("checksum .*", "checksum")
        .replaceAll("RAM block .*:", "RAM block:")
        .replaceAll("\\d+", "N");
  }
}
