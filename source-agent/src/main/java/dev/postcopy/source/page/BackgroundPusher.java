package dev.postcopy.source.page;

import dev.postcopy.memory.RamLayout;
import dev.postcopy.source.memory.GuestMemory;
import dev.postcopy.transport.Connection;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/**
 * Pushes the pages that nobody asked for, on the bulk connection's event loop: from the page that
 * was last asked for onward, because its neighbours are likely to be wanted next, and round until
 * none is left. What it has in flight is bounded by a {@link BulkWindow}.
 */
public final class BackgroundPusher {

  /** Pages in one frame: long enough to be cheap, short enough not to hold up a fault. */
  private static final int PAGES_PER_FRAME = 4;

  private static final int MAX_FRAMES_IN_FLIGHT = 4096;

  private final GuestMemory memory;
  private final RamLayout layout;
  private final SentPages sent;
  private final Connection connection;
  private final BulkWindow window;
  private final BandwidthLimit limit;
  private final PushOrder order;
  private final PageWriter writer;
  private final FramesInFlight inFlight;
  private final Runnable onDrained;
  private final long patienceNanos;
  private long heardNanos;
  private int cursor;
  private int lastFault;
  private boolean pumpScheduled;
  private boolean pumping;
  private boolean started;
  private boolean allClaimed;
  private boolean drained;

  /** Where the push goes on. */
  public enum PushOrder {
    /** From the first page to the last. */
    PLAIN,
    /** From the page that was asked for last. */
    FROM_LAST_FAULT
  }

  /**
   * @param patience for an acknowledgement, before the connection is given up
   * @param onDrained called once, on the event loop, when every page was claimed and everything
   *     that this pusher wrote was acknowledged
   */
  public BackgroundPusher(
      GuestMemory memory,
      SentPages sent,
      Connection bulk,
      BulkWindow window,
      BandwidthLimit limit,
      PushOrder order,
      Duration patience,
      Runnable onDrained) {
    this.memory = memory;
    this.layout = memory.layout();
    this.sent = sent;
    this.connection = bulk;
    this.window = window;
    this.limit = limit;
    this.order = order;
    this.writer = new PageWriter(memory, sent, bulk);
    this.inFlight = new FramesInFlight(sent, MAX_FRAMES_IN_FLIGHT);
    this.patienceNanos = patience.toNanos();
    this.onDrained = onDrained;
  }

  /** Begins to push; the guest has stopped. On the event loop. */
  public void start() {
    started = true;
    heardNanos = System.nanoTime();
    pump();
  }

  /** The destination has dealt with the first {@code frames} page frames. */
  public void onAck(long frames) {
    inFlight.acknowledge(frames);
    heardNanos = System.nanoTime();
  }

  /** A round trip on the demand connection took {@code nanos}; from any thread. */
  public void onRoundTrip(long nanos) {
    connection.execute(
        () -> {
          if (inFlight.isEmpty()) {
            heardNanos = System.nanoTime();
            window.onIdleRoundTrip(nanos);
          } else {
            window.onRoundTrip(nanos);
            requireAcknowledgement();
          }
          pump();
        });
  }

  /**
   * The demand connection is alive, or nobody would have called: this one may be dead all alone.
   */
  private void requireAcknowledgement() {
    if (System.nanoTime() - heardNanos > patienceNanos) {
      connection.giveUp("pushed pages are not acknowledged any more");
    }
  }

  /** Goes on as far as the window and the socket allow; after acknowledgements and writability. */
  public void pump() {
    // Flushing may make the socket writable, which calls us again from within.
    if (!started || drained || pumping) {
      return;
    }
    pumping = true;
    do {
      while (!allClaimed && mayPush()) {
        pushNext();
      }
      connection.flush();
    } while (!allClaimed && mayPush());
    pumping = false;
    if (allClaimed && inFlight.isEmpty()) {
      drained = true;
      onDrained.run();
    }
  }

  private boolean mayPush() {
    if (inFlight.bytes() >= window.bytes() || inFlight.isFull()) {
      window.onLimiting();
      return false;
    }
    return connection.isWritable() && isWithinLimit();
  }

  private boolean isWithinLimit() {
    long waitNanos = limit.waitNanos(System.nanoTime());
    if (waitNanos > 0 && !pumpScheduled) {
      pumpScheduled = true;
      var _ = connection.schedule(this::pumpAgain, waitNanos, TimeUnit.NANOSECONDS);
    }
    return waitNanos == 0;
  }

  private void pumpAgain() {
    pumpScheduled = false;
    pump();
  }

  private void pushNext() {
    int first = nextUnclaimed();
    if (allClaimed) {
      return;
    }
    long bytesBefore = connection.bytesWritten();
    int content = writer.contentRun(first, PAGES_PER_FRAME);
    int count = content > 0 ? writer.pushRun(first, first + content) : pushHole(first);
    cursor = first + count;
    long frameBytes = connection.bytesWritten() - bytesBefore;
    if (frameBytes > 0) {
      inFlight.add(first, count, (int) frameBytes);
      limit.onSent(frameBytes);
    }
  }

  private int nextUnclaimed() {
    int fault = sent.lastFault();
    if (order == PushOrder.FROM_LAST_FAULT && fault != lastFault) {
      lastFault = fault;
      cursor = fault;
    }
    int first = sent.nextUnclaimed(cursor);
    if (first == layout.pageCount()) {
      first = sent.nextUnclaimed(0);
      allClaimed = first == layout.pageCount();
    }
    return first;
  }

  private int pushHole(int first) {
    int count = memory.nextData(first) - first;
    writer.pushHole(first, count);
    return count;
  }
}
