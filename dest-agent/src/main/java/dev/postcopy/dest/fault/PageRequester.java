package dev.postcopy.dest.fault;

import dev.postcopy.dest.page.PagePlacer;
import dev.postcopy.dest.page.PageStates;
import dev.postcopy.metrics.FaultTimes;
import dev.postcopy.transport.Connection;
import org.jspecify.annotations.Nullable;

/**
 * Decides what a fault needs: nothing but a wake, a zero page, or the source. Owned by the loop
 * that reads the faults, which is the demand connection's. While there is no connection, faults on
 * pages that are known here are served all the same, the others wait to be asked for.
 */
public final class PageRequester {

  private final PageStates pages;
  private final PagePlacer placer;
  private final OutstandingFaults outstanding;
  private @Nullable Connection demand;

  /**
   * @param placer the demand loop's own
   * @param times gets how long each fault took
   */
  public PageRequester(PageStates pages, PagePlacer placer, FaultTimes times) {
    this.pages = pages;
    this.placer = placer;
    this.outstanding = new OutstandingFaults(times);
  }

  /**
   * The source is at the other end of {@code connection}: everything that waits is asked for there.
   * On the connection's loop, before it reads the first fault.
   */
  public void connect(Connection connection) {
    demand = connection;
    for (int page = nextWaitedFor(0); page < pages.pageCount(); page = nextWaitedFor(page + 1)) {
      if (!pages.isKnownZero(page)) {
        connection.write(connection.writer().request(page, 1));
      }
    }
    connection.flush();
    serveKnown();
  }

  /**
   * Serves those who wait for a page that is known here, where it could not be placed before. On
   * the loop that reads the faults.
   *
   * @throws dev.postcopy.dest.page.PlacingFailedException where it cannot be placed now either
   */
  public void serveKnown() {
    for (int page = nextWaitedFor(0); page < pages.pageCount(); page = nextWaitedFor(page + 1)) {
      if (pages.isKnownZero(page)) {
        placer.placeZero(page);
      }
    }
  }

  private int nextWaitedFor(int from) {
    int end = pages.pageCount();
    int page = pages.nextRequested(from, end);
    while (page < end && pages.isReceived(page)) {
      page = pages.nextRequested(page + 1, end);
    }
    return page;
  }

  /** The source is not there for now. On the loop that reads the faults. */
  public void disconnect() {
    demand = null;
  }

  /** {@code thread} of QEMU waits for {@code page}; its message was read at {@code nanos}. */
  void onFault(int page, int thread, long nanos) {
    outstanding.add(page, thread, nanos);
    // Behind its drop a page that was known before must not be placed as zero.
    synchronized (pages) {
      serve(page);
    }
  }

  private void serve(int page) {
    boolean first = pages.markRequested(page);
    // The page may have arrived on the bulk loop since the thread fell asleep. Marked first, looked
    // second: see PagePlacer for the other half.
    if (pages.isKnown(page)) {
      placer.placeZero(page);
    } else if (first && demand != null) {
      demand.write(demand.writer().request(page, 1));
    }
  }

  /** All faults that were pending have been seen. */
  void onBatchEnd() {
    if (demand != null) {
      demand.flush();
      outstanding.asked(System.nanoTime());
    }
  }

  /** Pages [first, first+count) were placed and their waiters woken; from either loop. */
  public void onPlaced(int first, int count, long arrivedNanos, long placedNanos) {
    outstanding.placed(first, first + count, arrivedNanos, placedNanos);
  }
}
