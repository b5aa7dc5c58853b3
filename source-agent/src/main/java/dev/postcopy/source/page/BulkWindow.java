package dev.postcopy.source.page;

import dev.postcopy.wire.Wire;
import java.util.concurrent.TimeUnit;

/**
 * How many bytes of bulk may be in flight: as many as the link carries, and hardly more, because a
 * page that somebody waits for queues behind them. Owned by the bulk loop.
 *
 * <p>Found by watching, as TCP Vegas does (Brakmo, O'Malley, Peterson: TCP Vegas, 1994): round
 * trips on the demand connection tell how long the queue in front of a fault's answer is. While a
 * round trip takes little longer than on an idle link the window grows, while it takes much longer
 * it shrinks. "Little" and "much" are parts of the idle round trip itself, so that no number here
 * has to fit a link.
 */
public final class BulkWindow {

  /** Two frames: one on its way while the other is dealt with. */
  private static final long SMALLEST_BYTES = 2L * Wire.PUSHED_FRAME_BYTES;

  /** Eight frames: more is a destination that has fallen behind. */
  private static final long LARGEST_BATCH_BYTES = 8L * Wire.PUSHED_FRAME_BYTES;

  private static final long LARGEST_BYTES = 64L << 20;

  /** A round trip may be longer by this part of an idle one before the window stops growing. */
  private static final double TOLERATED_DELAY = 0.25;

  /** The shortest of a few: a single long one may be a thread that did not get its processor. */
  private static final int SAMPLES = 4;

  private static final long STEADY_PAUSE_NANOS = TimeUnit.MILLISECONDS.toNanos(16);

  private final Pushers pushers;
  private final boolean fixed;
  private final long[] recentNanos = new long[SAMPLES];
  private int samples;
  private long idleNanos = Long.MAX_VALUE;
  private final long[] recentBatchBytes = new long[SAMPLES];
  private int batches;

  /** Volatile for those who watch; one thread writes them. */
  private volatile long bytes;

  private volatile long batchBytes;
  private volatile long roomBytes = Wire.PUSHED_FRAME_BYTES;

  private boolean limiting;
  private boolean limitingBatch;

  /** These two volatile for the demand loop; the bulk loop writes them. */
  private volatile boolean takingTurns;

  private volatile boolean steady;

  private BulkWindow(Pushers pushers, long bytes, boolean fixed) {
    this.pushers = pushers;
    this.bytes = bytes;
    this.fixed = fixed;
    this.steady = fixed;
  }

  /** A window that finds its size. */
  public static BulkWindow adaptive() {
    return adaptive(Pushers.OF_THIS_PROCESS);
  }

  static BulkWindow adaptive(Pushers pushers) {
    return new BulkWindow(pushers, 2 * SMALLEST_BYTES, false);
  }

  /** A window of a given size, for measuring what the adaptive one is worth. */
  public static BulkWindow fixed(long bytes) {
    return fixed(Pushers.OF_THIS_PROCESS, bytes);
  }

  static BulkWindow fixed(Pushers pushers, long bytes) {
    return new BulkWindow(pushers, bytes, true);
  }

  /** Its size now: one frame is on its way, at the least, while a batch is dealt with. */
  public long bytes() {
    return fixed ? bytes : Math.max(bytes, batchBytes + roomBytes);
  }

  /**
   * What is pushed goes in TLS records. As much as one frame is then always in a record that the
   * destination has a part of, and has not opened.
   */
  void leaveRoomForRecords() {
    roomBytes = 2L * Wire.PUSHED_FRAME_BYTES;
  }

  /** Something is pushed from now on: modestly, where others push already. */
  void open() {
    pushers.enter(this);
    if (!fixed && pushers.count() > 1) {
      bytes = SMALLEST_BYTES;
      takingTurns = true;
    }
  }

  /** Nothing is pushed any more. */
  void close() {
    pushers.leave(this);
  }

  /**
   * How long to wait before more may be pushed. A fault of one migration queues behind the bulk of
   * every other, and a window that is the smallest already can do nothing more about it: those take
   * turns.
   *
   * @param nowNanos {@link System#nanoTime}
   * @return nanoseconds; 0: push
   */
  long waitNanos(long nowNanos) {
    return takingTurns ? pushers.nanosUntilTurn(this, nowNanos) : 0;
  }

  /**
   * How long there is nothing to measure: each round trip takes processors that faults need. From
   * any thread.
   *
   * @param nowNanos {@link System#nanoTime}
   * @return nanoseconds; 0: the next one may change the window
   */
  public long measuringPauseNanos(long nowNanos) {
    return Math.max(waitNanos(nowNanos), steady ? STEADY_PAUSE_NANOS : 0);
  }

  /** The window, and not the socket or the lack of pages, kept bulk back. */
  void onLimiting() {
    limiting = true;
    limitingBatch = true;
  }

  /**
   * The destination acknowledged so much at once. It reads what has arrived every now and then:
   * what is in flight has to last for that long. The smallest of a few batches: a single large one
   * may be a destination that did not get its processor. One that is small because there was little
   * to send tells nothing.
   */
  void onAcknowledged(long newBytes) {
    if (limitingBatch) {
      limitingBatch = false;
      recentBatchBytes[batches++ % SAMPLES] = newBytes;
      batchBytes = Math.min(LARGEST_BATCH_BYTES, smallest(recentBatchBytes));
    }
  }

  /** A round trip on the demand connection took {@code nanos} while nothing was pushed. */
  void onIdleRoundTrip(long nanos) {
    idleNanos = Math.min(idleNanos, nanos);
  }

  /** A round trip on the demand connection took {@code nanos} while bulk was in flight. */
  void onRoundTrip(long nanos) {
    idleNanos = Math.min(idleNanos, nanos);
    recentNanos[samples++ % SAMPLES] = nanos;
    if (fixed || samples % SAMPLES != 0) {
      return;
    }
    long bytesBefore = bytes;
    long delayNanos = smallest(recentNanos) - idleNanos;
    if (delayNanos > 2 * TOLERATED_DELAY * idleNanos) {
      takingTurns |= bytes == SMALLEST_BYTES;
      bytes = Math.max(SMALLEST_BYTES, bytes - bytes / 8);
    } else if (delayNanos < TOLERATED_DELAY * idleNanos && limiting) {
      bytes = Math.min(LARGEST_BYTES, bytes + bytes / 8);
      takingTurns &= bytes < 2 * SMALLEST_BYTES;
      limiting = false;
    }
    steady = bytes == bytesBefore;
  }

  private static long smallest(long[] values) {
    long smallest = Long.MAX_VALUE;
    for (long value : values) {
      smallest = Math.min(smallest, value);
    }
    return smallest;
  }
}
