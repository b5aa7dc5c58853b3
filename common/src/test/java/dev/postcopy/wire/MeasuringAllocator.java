package dev.postcopy.wire;

import io.netty.buffer.AbstractByteBufAllocator;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.UnpooledByteBufAllocator;

/** Knows what its buffers hold together, and the most that they ever held. For one thread. */
final class MeasuringAllocator extends AbstractByteBufAllocator {

  private final UnpooledByteBufAllocator buffers = new UnpooledByteBufAllocator(true, true);
  private long peakBytes;

  MeasuringAllocator() {
    super(true);
  }

  long heldBytes() {
    return buffers.metric().usedDirectMemory() + buffers.metric().usedHeapMemory();
  }

  long peakBytes() {
    return peakBytes;
  }

  @Override
  public boolean isDirectBufferPooled() {
    return false;
  }

  @Override
  protected ByteBuf newDirectBuffer(int initialCapacity, int maxCapacity) {
    return measured(buffers.directBuffer(initialCapacity, maxCapacity));
  }

  @Override
  protected ByteBuf newHeapBuffer(int initialCapacity, int maxCapacity) {
    return measured(buffers.heapBuffer(initialCapacity, maxCapacity));
  }

  private ByteBuf measured(ByteBuf buffer) {
    peakBytes = Math.max(peakBytes, heldBytes());
    return buffer;
  }
}
