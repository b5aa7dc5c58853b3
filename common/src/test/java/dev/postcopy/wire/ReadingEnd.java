package dev.postcopy.wire;

import static org.assertj.core.api.Assertions.assertThat;

import io.netty.channel.embedded.EmbeddedChannel;

/**
 * The reading end of a connection, whose allocator counts: when it is closed, every byte of buffer
 * must have been given back. That is exact, where the leak detector only samples or waits for the
 * garbage collector; so the latter is off here, and the fuzzing fast.
 */
final class ReadingEnd implements AutoCloseable {

  private final MeasuringAllocator allocator = new MeasuringAllocator();
  private final EmbeddedChannel channel;

  ReadingEnd(FrameSink sink) {
    FrameReader reader = new FrameReader();
    reader.handOver(sink);
    channel = new EmbeddedChannel();
    channel.config().setAllocator(allocator);
    channel.pipeline().addLast(reader);
  }

  /** Bytes arrive, all at once. A closed connection does not take any. */
  void receive(byte... bytes) {
    receive(bytes, 0, bytes.length);
  }

  /** Bytes [from, to) arrive, all at once. */
  void receive(byte[] bytes, int from, int to) {
    if (channel.isOpen() && from < to) {
      channel.writeInbound(allocator.directBuffer(to - from).writeBytes(bytes, from, to - from));
    }
  }

  boolean isOpen() {
    return channel.isOpen();
  }

  /** Bytes of buffer that are held now. */
  long heldBytes() {
    return allocator.heldBytes();
  }

  /** The most bytes of buffer that were held at any time. */
  long peakBytes() {
    return allocator.peakBytes();
  }

  @Override
  public void close() {
    channel.finishAndReleaseAll();
    assertThat(heldBytes()).as("bytes of buffer that were never released").isZero();
  }
}
