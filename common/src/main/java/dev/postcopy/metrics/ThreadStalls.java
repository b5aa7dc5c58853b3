package dev.postcopy.metrics;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * The waiting of each thread, for as many threads as a QEMU has; what is beyond that is counted as
 * one. Any thread may call; recording does not allocate.
 */
final class ThreadStalls {

  private static final int CAPACITY = 512;

  private final int[] threadId = new int[CAPACITY];
  private final long[] faults = new long[CAPACITY];
  private final long[] totalNanos = new long[CAPACITY];
  private final long[] longestNanos = new long[CAPACITY];
  private final Map<Integer, String> names = new HashMap<>();
  private int used;

  synchronized void name(int id, String name) {
    names.put(id, name);
  }

  synchronized void record(int id, long nanos) {
    int i = indexOf(id);
    faults[i]++;
    totalNanos[i] += nanos;
    longestNanos[i] = Math.max(longestNanos[i], nanos);
  }

  private int indexOf(int id) {
    for (int i = 0; i < used; i++) {
      if (threadId[i] == id) {
        return i;
      }
    }
    if (used < CAPACITY - 1) {
      threadId[used] = id;
      return used++;
    }
    return CAPACITY - 1;
  }

  synchronized List<ThreadStall> list() {
    List<ThreadStall> stalls = new ArrayList<>();
    for (int i = 0; i < CAPACITY; i++) {
      if (faults[i] > 0) {
        stalls.add(
            new ThreadStall(
                threadId[i],
                names.getOrDefault(threadId[i], ""),
                faults[i],
                TimeUnit.NANOSECONDS.toMicros(totalNanos[i]),
                TimeUnit.NANOSECONDS.toMicros(longestNanos[i])));
      }
    }
    stalls.sort(Comparator.comparingLong(ThreadStall::totalMicros).reversed());
    return stalls;
  }
}
