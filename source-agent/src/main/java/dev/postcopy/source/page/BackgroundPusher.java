package dev.postcopy.source.page;

import dev.postcopy.linux.Residency;
import dev.postcopy.memory.PageBitmap;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.source.memory.GuestMemory;
import dev.postcopy.transport.Connection;
import dev.postcopy.wire.Wire;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * Pushes the pages that nobody asked for, on the bulk connection's event loop: from the page that
 * was last asked for onward, because its neighbours are likely to be wanted next, and round until
 * none is left. What it has in flight is bounded by a {@link BulkWindow}.
 */
public final class BackgroundPusher {

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
  private final PageRecaller recaller;
  private final PushListener listener;
  private final long patienceNanos;
  private long heardNanos;
  private int cursor;

  /** Pages [contentFirst, contentEnd) had content when they were looked at. */
  private int contentFirst;

  private int contentEnd;
  private int lastFault;
  private boolean pumpScheduled;
  private boolean pumping;
  private State state = State.RESTING;
  private boolean allClaimed;
  private boolean closed;
  private boolean awaited;
  private int turn;

  /** What is waited for: so many frames, and not those that take pages back meanwhile. */
  private long awaitedFrames;

  private int end;
  private @Nullable PageBitmap except;
  private @Nullable PageBitmap preferred;

  private enum State {
    /** Nothing is pushed, now or any more. */
    RESTING,
    /** The guest runs here still: when what was pushed was acknowledged, that is told. */
    AHEAD,
    /** The guest has stopped: when what was pushed was acknowledged, all is done. */
    DRAINING
  }

  /** What the session is told, on the event loop. */
  public interface PushListener {

    /** Every page was claimed, and everything that was pushed was acknowledged; once. */
    void onDrained();

    /**
     * Everything that was asked for with {@code turn} is done, and everything that was written by
     * then was acknowledged; what takes pages back later is not waited for.
     */
    void onSettled(int turn);
  }

  /** Where the push goes on. */
  public enum PushOrder {
    /** From the first page to the last. */
    PLAIN,
    /** From the page that was asked for last. */
    FROM_LAST_FAULT
  }

  /**
   * @param patience for an acknowledgement, before the connection is given up
   */
  public BackgroundPusher(
      GuestMemory memory,
      SentPages sent,
      Connection bulk,
      BulkWindow window,
      BandwidthLimit limit,
      PushOrder order,
      Duration patience,
      PushListener listener) {
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
    this.recaller = new PageRecaller(sent, bulk, inFlight);
    this.listener = listener;
    if (bulk.isEncrypted()) {
      window.leaveRoomForRecords();
    }
  }

  /** Begins to push; the guest has stopped. On the event loop. */
  public void start() {
    if (state != State.DRAINING) {
      end = layout.pageCount();
      except = null;
      push(State.DRAINING);
    }
  }

  /**
   * Pushes with the guest running what was not pushed yet of pages [first, stretchEnd). On the
   * event loop.
   *
   * @param notNow pages that are left out; not to be changed before {@code newTurn} is settled
   */
  public void startStretch(int first, int stretchEnd, PageBitmap notNow, int newTurn) {
    turn = newTurn;
    awaited = true;
    cursor = first;
    end = stretchEnd;
    except = notNow;
    push(State.AHEAD);
  }

  private void push(State next) {
    if (closed) {
      return;
    }
    become(next);
    awaitedFrames = inFlight.written();
    // The guest may have discarded memory since; to read a hole would fill it.
    contentEnd = 0;
    allClaimed = false;
    heardNanos = System.nanoTime();
    pump();
  }

  /** Pushes no more for now; what is on its way is. On the event loop. */
  public void rest() {
    become(State.RESTING);
  }

  /** As {@link #rest()}; what is on its way, taking back included, is waited for, and told. */
  public void rest(int newTurn) {
    rest();
    turn = newTurn;
    awaited = true;
    awaitedFrames = inFlight.written();
    pump();
  }

  /** The connection is gone, and this pusher with it. On the event loop. */
  public void onClosed() {
    closed = true;
    rest();
  }

  private void become(State next) {
    if (state == State.RESTING && next != State.RESTING) {
      window.open();
    } else if (state != State.RESTING && next == State.RESTING) {
      window.close();
    }
    state = next;
  }

  /**
   * Takes those of pages [first, last) back that are set in {@code written} and were sent. On the
   * event loop, before the first request is answered.
   *
   * @return how many these were
   */
  public int takeBack(PageBitmap written, int first, int last) {
    heardNanos = inFlight.isEmpty() ? System.nanoTime() : heardNanos;
    int taken = recaller.takeBack(written, first, last);
    connection.flush();
    return taken;
  }

  /** Pushes the pages of {@code first} before others; on the event loop, which owns it then. */
  public void prefer(PageBitmap first) {
    preferred = order == PushOrder.PLAIN ? null : first;
  }

  /** The destination has dealt with the first {@code frames} page frames. */
  public void onAck(long frames) {
    window.onAcknowledged(inFlight.acknowledge(frames));
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
    if (pumping || (state == State.RESTING && !awaited)) {
      return;
    }
    pumping = true;
    do {
      while (hasMore() && mayPush()) {
        pushNext();
      }
      connection.flush();
    } while (hasMore() && mayPush());
    pumping = false;
    if (inFlight.isAcknowledged(awaitedFrames)) {
      tell();
    }
  }

  private boolean hasMore() {
    return state != State.RESTING && !allClaimed;
  }

  private void tell() {
    if (state == State.DRAINING && allClaimed) {
      rest();
      listener.onDrained();
    } else if (awaited && !hasMore()) {
      awaited = false;
      sent.settle();
      listener.onSettled(turn);
    }
  }

  private boolean mayPush() {
    if (inFlight.bytes() >= window.bytes() || inFlight.isFull()) {
      window.onLimiting();
      return false;
    }
    return connection.isWritable() && isTime();
  }

  private boolean isTime() {
    long nowNanos = System.nanoTime();
    long waitNanos = Math.max(limit.waitNanos(nowNanos), window.waitNanos(nowNanos));
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
    int first = nextPreferred();
    if (first == layout.pageCount()) {
      first = nextUnclaimed();
    }
    if (allClaimed) {
      return;
    }
    long bytesBefore = connection.bytesWritten();
    int most = Math.min(Wire.PUSHED_PAGES_PER_FRAME, nextLeftOut(first) - first);
    int content = Math.min(contentRun(first), most);
    int count = content > 0 ? writer.pushRun(first, first + content) : pushHole(first);
    cursor = first + count;
    long frameBytes = connection.bytesWritten() - bytesBefore;
    if (frameBytes > 0) {
      inFlight.add(first, count, (int) frameBytes);
      awaitedFrames = inFlight.written();
      limit.onSent(frameBytes);
    }
  }

  /** How many pages from {@code first} on have content, of those that were looked at at once. */
  private int contentRun(int first) {
    if (first < contentFirst || first >= contentEnd) {
      contentFirst = first;
      contentEnd = first + writer.contentRun(first, pagesLookedAt());
    }
    return contentEnd - first;
  }

  /** A guest that runs may discard memory at any time; one that has stopped does not. */
  private int pagesLookedAt() {
    return state == State.AHEAD ? Wire.PUSHED_PAGES_PER_FRAME : Residency.MAX_PAGES;
  }

  private void followFault() {
    int fault = sent.lastFault();
    if (order == PushOrder.FROM_LAST_FAULT && fault != lastFault) {
      lastFault = fault;
      cursor = fault;
    }
  }

  /** The next page that is to come before others, or the number of pages where there is none. */
  private int nextPreferred() {
    PageBitmap first = preferred;
    if (first == null) {
      return layout.pageCount();
    }
    followFault();
    int page = nextPreferred(first, cursor);
    if (page == layout.pageCount()) {
      page = nextPreferred(first, 0);
    }
    if (page == layout.pageCount()) {
      preferred = null;
    }
    return page;
  }

  private int nextPreferred(PageBitmap first, int from) {
    int page = first.nextSet(from);
    while (page < layout.pageCount() && sent.isClaimed(page)) {
      first.clear(page);
      page = first.nextSet(page + 1);
    }
    return page;
  }

  private int nextUnclaimed() {
    if (state == State.AHEAD) {
      return nextInStretch();
    }
    followFault();
    int first = sent.nextUnclaimed(cursor);
    if (first == layout.pageCount()) {
      first = sent.nextUnclaimed(0);
      allClaimed = first == layout.pageCount();
    }
    return first;
  }

  private int nextInStretch() {
    int page = sent.nextUnclaimed(cursor, end);
    while (page < end && nextLeftOut(page) == page) {
      page = sent.nextUnclaimed(page + 1, end);
    }
    allClaimed = page == end;
    return page;
  }

  /** The first page from {@code from} on that is not to be pushed now. */
  private int nextLeftOut(int from) {
    return except == null ? end : except.nextSet(from, end);
  }

  /** What was a hole a moment ago may have content, where the guest runs: then 0 pages. */
  private int pushHole(int first) {
    int holeEnd = Math.min(nextLeftOut(first), memory.nextData(first));
    int count = sent.endOfHole(first, holeEnd) - first;
    if (count > 0) {
      writer.pushHole(first, count);
    }
    return count;
  }
}
