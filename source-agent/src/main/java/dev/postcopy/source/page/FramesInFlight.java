package dev.postcopy.source.page;

import dev.postcopy.wire.ProtocolException;

/**
 * The page frames that were written on a bulk connection and are not acknowledged yet, oldest
 * first. The connection keeps their order, so one number acknowledges all before it. Owned by the
 * bulk loop.
 */
final class FramesInFlight {

  private final SentPages sent;
  private final int[] firstPage;
  private final int[] pageCount;
  private final int[] frameBytes;
  private long written;
  private long acknowledged;
  private long bytes;

  /**
   * @param capacity the most frames that may be in flight
   */
  FramesInFlight(SentPages sent, int capacity) {
    this.sent = sent;
    this.firstPage = new int[capacity];
    this.pageCount = new int[capacity];
    this.frameBytes = new int[capacity];
  }

  boolean isFull() {
    return written - acknowledged == firstPage.length;
  }

  boolean isEmpty() {
    return written == acknowledged;
  }

  /** Bytes of the frames in flight. */
  long bytes() {
    return bytes;
  }

  /** A frame for pages [first, first+count) was written. */
  void add(int first, int count, int byteLength) {
    int slot = (int) (written++ % firstPage.length);
    firstPage[slot] = first;
    pageCount[slot] = count;
    frameBytes[slot] = byteLength;
    bytes += byteLength;
  }

  /** The destination has dealt with the first {@code frames} frames of the connection. */
  void acknowledge(long frames) {
    if (frames > written) {
      throw new ProtocolException(
          "%d frames acknowledged of %d written".formatted(frames, written));
    }
    while (acknowledged < frames) {
      int slot = (int) (acknowledged++ % firstPage.length);
      sent.acknowledge(firstPage[slot], pageCount[slot]);
      bytes -= frameBytes[slot];
    }
  }
}
