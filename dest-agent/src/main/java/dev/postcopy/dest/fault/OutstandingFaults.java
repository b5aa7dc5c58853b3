package dev.postcopy.dest.fault;

import dev.postcopy.metrics.LatencyRecorder;

/**
 * The faults that wait for their page, for measuring how long they do. Shared by the demand loop
 * and the bulk loop; taking the lock is less than telling the other loop. A QEMU has no more of
 * them than threads, and workers of KVM's asynchronous page faults; what is beyond the capacity is
 * served all the same, but not measured.
 */
final class OutstandingFaults {

  private static final int CAPACITY = 4096;

  private final int[] page = new int[CAPACITY];
  private final long[] startNanos = new long[CAPACITY];
  private final LatencyRecorder latency;
  private int count;

  OutstandingFaults(LatencyRecorder latency) {
    this.latency = latency;
  }

  synchronized void add(int faultedPage, long nanos) {
    if (count < CAPACITY) {
      page[count] = faultedPage;
      startNanos[count] = nanos;
      count++;
    }
  }

  /** Pages [first, end) were placed and their waiters woken at {@code nanos}. */
  synchronized void placed(int first, int end, long nanos) {
    for (int i = count - 1; i >= 0; i--) {
      if (page[i] >= first && page[i] < end) {
        latency.record(nanos - startNanos[i]);
        count--;
        page[i] = page[count];
        startNanos[i] = startNanos[count];
      }
    }
  }
}
