package dev.postcopy.dest.session;

import dev.postcopy.dest.page.PageStates;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.LinkEvents;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.Wire;
import io.netty.buffer.ByteBuf;
import java.time.Duration;

/**
 * One pair of connections from the source. What happens on it reaches the session until it is
 * closed.
 *
 * @param attempt of the source's, higher for each pair
 */
record DestinationLink(
    Connection demand, Connection bulk, int attempt, LinkEvents<DestinationEvent> events)
    implements AutoCloseable {

  /** Pages and faults may come now; somebody has to be at the other end. */
  void expectSignsOfLife(Duration patience) {
    demand.execute(() -> demand.expectSignsOfLife(patience));
  }

  /**
   * Tells the source which pages are here, with a bit for each; no page may arrive meanwhile.
   * Everything that is sent on the demand connection later comes behind it.
   */
  void tellReceived(PageStates pages) {
    demand.execute(
        () -> {
          int first = 0;
          while (first < pages.pageCount()) {
            int count = Math.min(Wire.MAX_BITS, pages.pageCount() - first);
            demand.write(received(pages, first, count));
            // A large guest has many of these: the source shall hear from us meanwhile.
            demand.flush();
            first += count;
          }
          demand.send(new ControlFrame.ReceivedEnd(pages.dataPages(), pages.zeroPages()));
        });
  }

  private ByteBuf received(PageStates pages, int first, int count) {
    ByteBuf frame = demand.writer().beginReceived(first, count);
    int end = frame.writerIndex() + (count + Byte.SIZE - 1) / Byte.SIZE;
    for (int page = 0; page < count; page += Long.SIZE) {
      frame.writeLongLE(pages.known(first + page));
    }
    // The last word may have more bytes than there are pages for.
    frame.writerIndex(end);
    return demand.writer().seal(frame);
  }

  /**
   * Says that this side gives up, and closes both: pages may be arriving, and none is placed any
   * more when the userfaultfd is closed.
   *
   * @return whether the source has most likely heard it
   */
  boolean giveUp(String reason) {
    boolean heard = demand.sendLast(new ControlFrame.Abort(reason));
    close();
    return heard;
  }

  /** Closes both; nothing of it reaches the guest or the session when this returns. */
  @Override
  public void close() {
    events.close();
    demand.closeAndWait();
    bulk.closeAndWait();
  }
}
