package dev.postcopy.source.session;

import dev.postcopy.memory.PageBitmap;
import dev.postcopy.source.page.RequestHandler;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameSink;
import dev.postcopy.wire.ProtocolException;
import io.netty.buffer.ByteBuf;
import java.util.function.Consumer;

/** What arrives on the demand connection: requests, and the destination's side of the talk. */
record DemandSink(
    RequestHandler requests,
    RoundTripMeter roundTrips,
    PageBitmap received,
    Consumer<SourceEvent> events)
    implements FrameSink {

  @Override
  public void onRequest(int first, int count) {
    requests.onRequest(first, count);
  }

  /** The session looks at the bits when it is told that these were all. */
  @Override
  public void onReceived(int first, int count, ByteBuf bits) {
    if (first >= received.pageCount() || count > received.pageCount() - first) {
      throw new ProtocolException("pages %d+%d are not in the guest's RAM".formatted(first, count));
    }
    for (int page = 0; page < count; page += Long.SIZE) {
      received.setWord(first + page, nextBits(bits, Math.min(Long.SIZE, count - page)));
    }
  }

  /** The next {@code count} bits, of which there are 64, or those that are left. */
  private static long nextBits(ByteBuf bits, int count) {
    long word = 0;
    if (count == Long.SIZE) {
      word = bits.readLongLE();
    } else {
      for (int i = 0; i < count; i += Byte.SIZE) {
        word |= (long) bits.readUnsignedByte() << i;
      }
    }
    return word & -1L >>> (Long.SIZE - count);
  }

  @Override
  public void onPong(long stamp) {
    roundTrips.onPong(stamp);
  }

  @Override
  public void onControl(ControlFrame frame) {
    events.accept(new SourceEvent.Said(frame));
  }

  @Override
  public void onBatchEnd() {
    requests.onBatchEnd();
  }

  @Override
  public void onWritable() {
    requests.onWritable();
  }

  @Override
  public void onClosed(CloseCause cause) {
    events.accept(SourceEvent.closed(cause));
  }
}
