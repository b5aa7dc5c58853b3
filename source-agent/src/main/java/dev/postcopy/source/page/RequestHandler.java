package dev.postcopy.source.page;

import dev.postcopy.memory.RamLayout;
import dev.postcopy.source.memory.GuestMemory;
import dev.postcopy.transport.Connection;
import dev.postcopy.wire.ProtocolException;
import java.util.Arrays;

/**
 * Answers the destination's requests, on the demand connection's event loop.
 *
 * <p>Until the guest has stopped its pages are not final. A request that comes before waits here; a
 * destination has no more of them than its QEMU has threads.
 */
public final class RequestHandler {

  private static final int MAX_EARLY_REQUESTS = 4096;

  /**
   * While the device state is loaded its few faults come one after the other, often on neighbours
   * (option ROMs, virtio rings), and nothing else is on the link.
   */
  private static final int PAGES_AHEAD = 7;

  private final RamLayout layout;
  private final SentPages sent;
  private final PageWriter writer;
  private final Connection connection;
  private int[] earlyPages = new int[0];
  private boolean serving;
  private boolean ahead = true;

  public RequestHandler(GuestMemory memory, SentPages sent, Connection demand) {
    this.layout = memory.layout();
    this.sent = sent;
    this.writer = new PageWriter(memory, sent, demand);
    this.connection = demand;
  }

  /** The guest has stopped: its pages are final and may be sent. On the event loop. */
  public void startServing() {
    serving = true;
    for (int page : earlyPages) {
      writer.answer(page);
    }
    earlyPages = new int[0];
    connection.flush();
  }

  /** From now on the pages behind a request are pushed by others. On the event loop. */
  public void stopReadingAhead() {
    ahead = false;
  }

  /** Pages [first, first+count) are wanted. {@link #onBatchEnd} sends the answers off. */
  public void onRequest(int first, int count) {
    if (!layout.isRunInOneBlock(first, count)) {
      throw new ProtocolException("request for pages %d+%d".formatted(first, count));
    }
    if (!serving) {
      hold(first, count);
      return;
    }
    sent.noteFault(first);
    for (int page = first; page < first + count; page++) {
      writer.answer(page);
    }
    if (ahead) {
      sendAhead(first + count);
    }
  }

  private void sendAhead(int from) {
    for (int page = from; page < from + PAGES_AHEAD; page++) {
      if (layout.isRunInOneBlock(from - 1, page - from + 2) && !sent.isClaimed(page)) {
        writer.answer(page);
      }
    }
  }

  /**
   * All requests that had arrived were answered. Of a peer that asks and does not read the answers
   * no more is read, until it does.
   */
  public void onBatchEnd() {
    connection.flush();
    connection.setReading(connection.isWritable());
  }

  /** The peer reads its answers again. */
  public void onWritable() {
    connection.setReading(true);
  }

  private void hold(int first, int count) {
    int held = earlyPages.length;
    if (held + count > MAX_EARLY_REQUESTS) {
      throw new ProtocolException("too many requests before the guest was stopped");
    }
    earlyPages = Arrays.copyOf(earlyPages, held + count);
    for (int i = 0; i < count; i++) {
      earlyPages[held + i] = first + i;
    }
  }
}
