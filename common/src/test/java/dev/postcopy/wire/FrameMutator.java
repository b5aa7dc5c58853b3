package dev.postcopy.wire;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.zip.CRC32C;

/**
 * Makes broken frames of true ones: bits flipped, fields exchanged or set to values at the edge,
 * bytes cut out or put in, frames doubled and spliced. Most get a true length and checksum again,
 * so that they come as far as the body. The same seed makes the same frames.
 */
public final class FrameMutator {

  private static final int HEADER_BYTES = 12;
  private static final int LENGTH_OFFSET = 4;
  private static final int CRC_OFFSET = 8;
  private static final int TYPES = 24;

  /** Where the fields are. */
  private static final int HEAD_BYTES = 64;

  private static final int[] EDGES = {
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

  private final Random random;
  private final List<byte[]> frames;

  /**
   * @param frames true frames, what all others are made of
   */
  public FrameMutator(long seed, List<byte[]> frames) {
    this.random = new Random(seed);
    this.frames = List.copyOf(frames);
  }

  /** One of the true frames, not to be changed. */
  public byte[] trueFrame() {
    return frames.get(random.nextInt(frames.size()));
  }

  /** A frame that was changed one to three times. */
  public byte[] brokenFrame() {
    byte[] frame = trueFrame().clone();
    for (int changes = 1 + random.nextInt(3); changes > 0; changes--) {
      frame = change(frame);
    }
    if (frame.length >= HEADER_BYTES && random.nextInt(8) != 0) {
      if (random.nextInt(8) != 0) {
        ByteBuffer.wrap(frame).putInt(LENGTH_OFFSET, frame.length - HEADER_BYTES);
      }
      seal(frame);
    }
    return frame;
  }

  /** True with a chance of one in {@code many}. */
  public boolean oneIn(int many) {
    return random.nextInt(many) == 0;
  }

  /** Where a stream of {@code byteLength} is cut into reads: ascending, its end included. */
  public int[] cuts(int byteLength) {
    int[] cuts = new int[1 + random.nextInt(4)];
    cuts[0] = byteLength;
    for (int i = 1; i < cuts.length; i++) {
      cuts[i] = random.nextInt(byteLength + 1);
    }
    Arrays.sort(cuts);
    return cuts;
  }

  /** Makes the checksum true for what {@code frame} says now. */
  public static void seal(byte[] frame) {
    CRC32C crc = new CRC32C();
    crc.update(frame, 0, CRC_OFFSET);
    crc.update(frame, HEADER_BYTES, frame.length - HEADER_BYTES);
    ByteBuffer.wrap(frame).putInt(CRC_OFFSET, (int) crc.getValue());
  }

  private byte[] change(byte[] frame) {
    if (frame.length < HEADER_BYTES) {
      return trueFrame().clone();
    }
    int at =
        random.nextInt(random.nextBoolean() ? frame.length : Math.min(frame.length, HEAD_BYTES));
    switch (random.nextInt(12)) {
      case 0 -> frame[at] ^= (byte) (1 << random.nextInt(8));
      case 1 -> frame[at] = (byte) random.nextInt();
      case 2 -> putEdge(frame, at);
      case 3 -> putEdge(frame, HEADER_BYTES + 4 * random.nextInt(8));
      case 4 -> putEdge(frame, LENGTH_OFFSET);
      case 5 -> frame[2] = (byte) random.nextInt(TYPES + 1);
      case 6 -> exchangeFields(frame);
      case 7 -> {
        return Arrays.copyOf(frame, at);
      }
      case 8 -> {
        return insert(frame, at, randomBytes(1 + random.nextInt(16)));
      }
      case 9 -> {
        return insert(frame, at, frame);
      }
      case 10 -> {
        byte[] body = randomBytes(random.nextInt(64));
        return insert(Arrays.copyOf(frame, HEADER_BYTES), HEADER_BYTES, body);
      }
      default -> {
        byte[] other = trueFrame();
        int from = random.nextInt(other.length);
        return insert(Arrays.copyOf(frame, at), at, Arrays.copyOfRange(other, from, other.length));
      }
    }
    return frame;
  }

  private void putEdge(byte[] frame, int at) {
    int value = EDGES[random.nextInt(EDGES.length)];
    if (random.nextBoolean() && at + Integer.BYTES <= frame.length) {
      ByteBuffer.wrap(frame).putInt(at, value);
    } else if (at + Short.BYTES <= frame.length) {
      ByteBuffer.wrap(frame).putShort(at, (short) value);
    }
  }

  /** Exchanges two neighbouring numbers of a body: the first page and the count, for example. */
  private void exchangeFields(byte[] frame) {
    int at = HEADER_BYTES + 4 * random.nextInt(4);
    if (at + 2 * Integer.BYTES <= frame.length) {
      ByteBuffer bytes = ByteBuffer.wrap(frame);
      int first = bytes.getInt(at);
      bytes.putInt(at, bytes.getInt(at + Integer.BYTES)).putInt(at + Integer.BYTES, first);
    }
  }

  private byte[] randomBytes(int count) {
    byte[] bytes = new byte[count];
    random.nextBytes(bytes);
    return bytes;
  }

  private static byte[] insert(byte[] frame, int at, byte[] more) {
    return ByteBuffer.allocate(frame.length + more.length)
        .put(frame, 0, at)
        .put(more)
        .put(frame, at, frame.length - at)
        .array();
  }

  /** A stream of true and broken frames: one that is broken, mostly with true ones around it. */
  public byte[] stream() {
    List<byte[]> parts = new ArrayList<>();
    if (random.nextBoolean()) {
      parts.add(trueFrame());
    }
    parts.add(brokenFrame());
    if (oneIn(4)) {
      parts.add(trueFrame());
    }
    return concat(parts);
  }

  private static byte[] concat(List<byte[]> parts) {
    ByteBuffer all = ByteBuffer.allocate(parts.stream().mapToInt(part -> part.length).sum());
    parts.forEach(all::put);
    return all.array();
  }
}
