package dev.postcopy.metrics;

import java.util.List;
import org.HdrHistogram.Histogram;

/**
 * How long the faults of one migration took, by stage and by the thread that waited. Recorded by
 * one thread at a time, without allocating; read by any.
 */
public final class FaultTimes {

  /** In which everything that happens for the first time would show. */
  private static final int FIRST_FAULTS = 100;

  private final LatencyRecorder queue = new LatencyRecorder();
  private final LatencyRecorder wire = new LatencyRecorder();
  private final LatencyRecorder place = new LatencyRecorder();
  private final LatencyRecorder wake = new LatencyRecorder();
  private final LatencyRecorder total = new LatencyRecorder();
  private final LatencyRecorder recent = new LatencyRecorder();
  private final LatencyRecorder first = new LatencyRecorder();
  private final ThreadStalls stalls = new ThreadStalls();

  private LatencyRecorder recorder(FaultStage stage) {
    return switch (stage) {
      case QUEUE -> queue;
      case WIRE -> wire;
      case PLACE -> place;
      case WAKE -> wake;
      case TOTAL -> total;
    };
  }

  /**
   * Records one fault; all times are System.nanoTime.
   *
   * @param readNanos its message was read
   * @param askedNanos its request was handed to the socket; 0 where it needed none of its own
   * @param arrivedNanos the page's frame was here, whoever had asked for it
   * @param placedNanos the page was copied
   * @param wokenNanos its thread was woken
   * @param threadId of the thread that waited
   */
  public void record(
      long readNanos,
      long askedNanos,
      long arrivedNanos,
      long placedNanos,
      long wokenNanos,
      int threadId) {
    // A page may be on its way, or in the middle of being placed, when somebody faults on it.
    long arrived = Math.max(arrivedNanos, readNanos);
    long asked = askedNanos == 0 ? readNanos : Math.min(askedNanos, arrived);
    long placed = Math.max(placedNanos, arrived);
    queue.record(asked - readNanos);
    wire.record(arrived - asked);
    place.record(placed - arrived);
    wake.record(wokenNanos - placed);
    total.record(wokenNanos - readNanos);
    recent.record(wokenNanos - readNanos);
    if (total.count() <= FIRST_FAULTS) {
      first.record(wokenNanos - readNanos);
    }
    stalls.record(threadId, wokenNanos - readNanos);
  }

  /** The latency of whole faults. */
  public LatencyRecorder total() {
    return total;
  }

  /** The latency of the first hundred of them. */
  public LatencyRecorder first() {
    return first;
  }

  /** A thread of QEMU's that is worth a name, like a vCPU. */
  public void nameThread(int threadId, String name) {
    stalls.name(threadId, name);
  }

  /** How long each thread waited in all; longest first. */
  public List<ThreadStall> stalls() {
    return stalls.list();
  }

  /** The faults so far. */
  Histogram histogram(FaultStage stage) {
    return recorder(stage).copy();
  }

  /** The faults since the last call, for one reader. */
  Histogram takeRecent() {
    return recent.take();
  }
}
