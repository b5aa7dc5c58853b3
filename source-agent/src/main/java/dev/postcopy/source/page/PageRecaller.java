package dev.postcopy.source.page;

import dev.postcopy.memory.PageBitmap;
import dev.postcopy.transport.Connection;
import dev.postcopy.wire.Wire;
import io.netty.buffer.ByteBuf;
import java.util.Arrays;

/**
 * Takes pages back that were sent and have been written to since: the destination drops them, and
 * they count as not sent. Behind the frames that carried them on the same connection, so that no
 * copy of a page can arrive behind its drop. Owned by the bulk loop.
 */
final class PageRecaller {

  private final SentPages sent;
  private final Connection bulk;
  private final FramesInFlight inFlight;
  private final byte[] bits = new byte[Wire.MAX_BITS / Byte.SIZE];

  PageRecaller(SentPages sent, Connection bulk, FramesInFlight inFlight) {
    this.sent = sent;
    this.bulk = bulk;
    this.inFlight = inFlight;
  }

  /**
   * Takes those of pages [first, end) back that are set in {@code written} and were sent.
   *
   * @return how many these were
   */
  int takeBack(PageBitmap written, int first, int end) {
    int taken = 0;
    for (int page = written.nextSet(first, end); page < end; ) {
      int frameEnd = (int) Math.min(end, (long) page + Wire.MAX_BITS);
      taken += takeBackInOneFrame(written, page, frameEnd);
      page = written.nextSet(frameEnd, end);
    }
    return taken;
  }

  /** One frame for what is taken back of [from, end), if there is anything. */
  private int takeBackInOneFrame(PageBitmap written, int from, int end) {
    int taken = 0;
    int first = from;
    int last = from;
    for (int page = from; page < end; page = written.nextSet(page + 1, end)) {
      if (sent.takeBack(page)) {
        first = taken == 0 ? page : first;
        last = page;
        int bit = page - first;
        bits[bit / Byte.SIZE] |= (byte) (1 << bit % Byte.SIZE);
        taken++;
      }
    }
    if (taken > 0) {
      int count = last - first + 1;
      int byteLength = (count + Byte.SIZE - 1) / Byte.SIZE;
      ByteBuf frame =
          bulk.writer()
              .seal(bulk.writer().beginDiscard(first, count).writeBytes(bits, 0, byteLength));
      inFlight.addTakingBack(frame.readableBytes());
      bulk.write(frame);
      Arrays.fill(bits, 0, byteLength, (byte) 0);
    }
    return taken;
  }
}
