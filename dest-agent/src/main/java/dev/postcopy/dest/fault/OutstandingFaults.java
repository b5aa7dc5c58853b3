package dev.postcopy.dest.fault;

import dev.postcopy.metrics.FaultTimes;

/**
 * The faults that wait for their page, for measuring how long they do. Shared by the demand loop
 * and the bulk loop; taking the lock is less than telling the other loop. A QEMU has no more of
 * them than threads, and workers of KVM's asynchronous page faults; what is beyond the capacity is
 * served all the same, but not measured.
 */
final class OutstandingFaults {

  private static final int CAPACITY = 4096;

  private final int[] page = new int[CAPACITY];
  private final int[] threadId = new int[CAPACITY];
  private final long[] readNanos = new long[CAPACITY];
  private final long[] askedNanos = new long[CAPACITY];
  private final FaultTimes times;
  private int count;

  OutstandingFaults(FaultTimes times) {
    this.times = times;
  }

  synchronized void add(int faultedPage, int thread, long nanos) {
    if (count < CAPACITY) {
      page[count] = faultedPage;
      threadId[count] = thread;
      readNanos[count] = nanos;
      askedNanos[count] = 0;
      count++;
    }
  }

  /** The requests of all faults that were added were handed to the socket at {@code nanos}. */
  synchronized void asked(long nanos) {
    for (int i = count - 1; i >= 0 && askedNanos[i] == 0; i--) {
      askedNanos[i] = nanos;
    }
  }

  /** Pages [first, end) were placed, and their waiters woken by now. */
  synchronized void placed(int first, int end, long arrivedNanos, long placedNanos) {
    long now = System.nanoTime();
    for (int i = count - 1; i >= 0; i--) {
      if (page[i] >= first && page[i] < end) {
        times.record(readNanos[i], askedNanos[i], arrivedNanos, placedNanos, now, threadId[i]);
        count--;
        page[i] = page[count];
        threadId[i] = threadId[count];
        readNanos[i] = readNanos[count];
        askedNanos[i] = askedNanos[count];
      }
    }
  }
}
