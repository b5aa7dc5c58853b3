package dev.postcopy.source.page;

import dev.postcopy.wire.ProtocolException;

/**
 * The page frames that were written on a bulk connection and are not acknowledged yet, oldest
 * first. The connection keeps their order, so one number acknowledges all before it. Owned by the
 * bulk loop.
 */
final class FramesInFlight {

  /**
   * Room above the limit for the frames that take pages back, which no limit holds up: one for each
   * 2^20 pages at the end of a round, and one every few milliseconds while memory goes ahead.
   */
  private static final int UNLIMITED_FRAMES = 4096;

  private final SentPages sent;
  private final int capacity;
  private final int[] firstPage;
  private final int[] pageCount;
  private final int[] frameBytes;
  private long written;
  private long acknowledged;
  private long bytes;

  /**
   * @param capacity the most page frames that may be in flight
   */
  FramesInFlight(SentPages sent, int capacity) {
    this.sent = sent;
    this.capacity = capacity;
    this.firstPage = new int[capacity + UNLIMITED_FRAMES];
    this.pageCount = new int[capacity + UNLIMITED_FRAMES];
    this.frameBytes = new int[capacity + UNLIMITED_FRAMES];
  }

  boolean isFull() {
    return written - acknowledged >= capacity;
  }

  boolean isEmpty() {
    return written == acknowledged;
  }

  /** How many frames were written so far. */
  long written() {
    return written;
  }

  /** Whether the destination has dealt with the first {@code frames} frames of the connection. */
  boolean isAcknowledged(long frames) {
    return acknowledged >= frames;
  }

  /** Bytes of the frames in flight. */
  long bytes() {
    return bytes;
  }

  /** A frame that takes pages back was written. */
  void addTakingBack(int byteLength) {
    add(0, 0, byteLength);
  }

  /** A frame for pages [first, first+count) was written. */
  void add(int first, int count, int byteLength) {
    if (written - acknowledged == firstPage.length) {
      throw new IllegalStateException("more frames than are looked after");
    }
    int slot = (int) (written++ % firstPage.length);
    firstPage[slot] = first;
    pageCount[slot] = count;
    frameBytes[slot] = byteLength;
    bytes += byteLength;
  }

  /**
   * The destination has dealt with the first {@code frames} frames of the connection.
   *
   * @return bytes of those of them that were in flight
   */
  long acknowledge(long frames) {
    if (frames > written) {
      throw new ProtocolException(
          "%d frames acknowledged of %d written".formatted(frames, written));
    }
    long bytesBefore = bytes;
    while (acknowledged < frames) {
      int slot = (int) (acknowledged++ % firstPage.length);
      sent.acknowledge(firstPage[slot], pageCount[slot]);
      bytes -= frameBytes[slot];
    }
    return bytesBefore - bytes;
  }
}
