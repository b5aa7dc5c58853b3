package dev.postcopy.source.page;

import dev.postcopy.memory.RamLayout;
import dev.postcopy.source.memory.GuestMemory;
import dev.postcopy.transport.Connection;

/**
 * Pushes the pages that nobody asked for, in order, on the bulk connection's event loop. What it
 * has in flight is bounded: bulk data that waits in sockets and queues is what a fault's answer has
 * to wait behind.
 */
public final class BackgroundPusher {

  /** Bytes in flight, at the most. */
  private static final int WINDOW_BYTES = 256 * 1024;

  /** Pages in one frame: long enough to be cheap, short enough not to hold up a fault. */
  private static final int PAGES_PER_FRAME = 8;

  private static final int MAX_FRAMES_IN_FLIGHT = 1024;

  private final GuestMemory memory;
  private final RamLayout layout;
  private final SentPages sent;
  private final Connection connection;
  private final PageWriter writer;
  private final FramesInFlight inFlight;
  private final Runnable onDrained;
  private int cursor;
  private int endOfData;
  private boolean started;
  private boolean drained;

  /**
   * @param onDrained called once, on the event loop, when every page was claimed and everything
   *     that this pusher wrote was acknowledged
   */
  public BackgroundPusher(GuestMemory memory, SentPages sent, Connection bulk, Runnable onDrained) {
    this.memory = memory;
    this.layout = memory.layout();
    this.sent = sent;
    this.connection = bulk;
    this.writer = new PageWriter(memory, sent, bulk);
    this.inFlight = new FramesInFlight(sent, MAX_FRAMES_IN_FLIGHT);
    this.onDrained = onDrained;
  }

  /** Begins to push; the guest has stopped. On the event loop. */
  public void start() {
    started = true;
    pump();
  }

  /** The destination has dealt with the first {@code frames} page frames. */
  public void onAck(long frames) {
    inFlight.acknowledge(frames);
  }

  /** Goes on as far as the window and the socket allow; after acknowledgements and writability. */
  public void pump() {
    if (!started || drained) {
      return;
    }
    while (cursor < layout.pageCount()
        && inFlight.bytes() < WINDOW_BYTES
        && !inFlight.isFull()
        && connection.isWritable()) {
      pushNext();
    }
    connection.flush();
    if (cursor >= layout.pageCount() && inFlight.isEmpty()) {
      drained = true;
      onDrained.run();
    }
  }

  private void pushNext() {
    int first = sent.nextUnclaimed(cursor);
    if (first >= layout.pageCount()) {
      cursor = first;
      return;
    }
    long bytesBefore = connection.bytesWritten();
    int count = first < endOfData ? pushData(first) : pushHoleOrData(first);
    cursor = first + count;
    long frameBytes = connection.bytesWritten() - bytesBefore;
    if (frameBytes > 0) {
      inFlight.add(first, count, (int) frameBytes);
    }
  }

  private int pushHoleOrData(int first) {
    int data = memory.nextData(first);
    if (data > first) {
      writer.pushHole(first, data - first);
      return data - first;
    }
    endOfData = memory.nextHole(first);
    return pushData(first);
  }

  private int pushData(int first) {
    return writer.pushRun(first, Math.min(endOfData, first + PAGES_PER_FRAME));
  }
}
