package dev.postcopy.dest.fault;

import dev.postcopy.dest.page.PagePlacer;
import dev.postcopy.dest.page.PageStates;
import dev.postcopy.metrics.LatencyRecorder;
import dev.postcopy.transport.Connection;

/**
 * Decides what a fault needs: nothing but a wake, a zero page, or the source. Owned by the demand
 * loop; but where a page was placed, either loop tells.
 */
public final class PageRequester {

  private final PageStates pages;
  private final PagePlacer placer;
  private final Connection demand;
  private final OutstandingFaults outstanding;

  /**
   * @param placer the demand loop's own
   * @param latency gets the time from reading a fault to waking its thread
   */
  public PageRequester(
      PageStates pages, PagePlacer placer, Connection demand, LatencyRecorder latency) {
    this.pages = pages;
    this.placer = placer;
    this.demand = demand;
    this.outstanding = new OutstandingFaults(latency);
  }

  /** A thread of QEMU waits for {@code page}; its message was read at {@code nanos}. */
  void onFault(int page, long nanos) {
    outstanding.add(page, nanos);
    boolean first = pages.markRequested(page);
    // The page may have arrived on the bulk loop since the thread fell asleep. Marked first, looked
    // second: see PagePlacer for the other half.
    if (pages.isKnown(page)) {
      placer.placeZero(page);
    } else if (first) {
      demand.write(demand.writer().request(page, 1));
    }
  }

  /** All faults that were pending have been seen. */
  void onBatchEnd() {
    demand.flush();
  }

  /** Pages [first, first+count) were placed and their waiters woken; from either loop. */
  public void onPlaced(int first, int count) {
    outstanding.placed(first, first + count, System.nanoTime());
  }
}
