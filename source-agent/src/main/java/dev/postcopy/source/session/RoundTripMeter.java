package dev.postcopy.source.session;

import dev.postcopy.transport.Connection;
import dev.postcopy.wire.ProtocolException;
import java.util.concurrent.TimeUnit;
import java.util.function.LongConsumer;
import java.util.function.LongUnaryOperator;

/**
 * Measures, over and over, how long a small frame takes to the destination and back on the demand
 * connection: what a fault's request and answer take at the least. One ping is on its way at a
 * time, as long as the connection is there: the destination knows by them that somebody is. Owned
 * by the demand loop.
 */
final class RoundTripMeter {

  private static final long INTERVAL_NANOS = TimeUnit.MILLISECONDS.toNanos(1);

  /** Well below the shortest patience for a sign of life. */
  private static final long LONGEST_PAUSE_NANOS = TimeUnit.MILLISECONDS.toNanos(250);

  private static final long NONE = -1;

  private final Connection demand;
  private final LongConsumer onRoundTripNanos;
  private final LongUnaryOperator waitNanos;
  private final long epochNanos = System.nanoTime();
  private long outstanding = NONE;
  private volatile long lastNanos;

  /**
   * @param onRoundTripNanos told of every round trip, on the demand loop
   * @param waitNanos how long from a {@link System#nanoTime} on there is nothing to measure: it
   *     takes processors that faults need
   */
  RoundTripMeter(Connection demand, LongConsumer onRoundTripNanos, LongUnaryOperator waitNanos) {
    this.demand = demand;
    this.onRoundTripNanos = onRoundTripNanos;
    this.waitNanos = waitNanos;
  }

  /** Begins to measure. */
  void start() {
    outstanding = System.nanoTime() - epochNanos;
    demand.write(demand.writer().ping(outstanding));
    demand.flush();
  }

  /** The last round trip; 0 before there was one. From any thread. */
  long lastMicros() {
    return TimeUnit.NANOSECONDS.toMicros(lastNanos);
  }

  /** A ping came back. */
  void onPong(long stamp) {
    if (stamp != outstanding) {
      throw new ProtocolException("a PONG that nobody asked for");
    }
    outstanding = NONE;
    long nowNanos = System.nanoTime();
    lastNanos = nowNanos - epochNanos - stamp;
    onRoundTripNanos.accept(lastNanos);
    long pauseNanos =
        Math.clamp(waitNanos.applyAsLong(nowNanos), INTERVAL_NANOS, LONGEST_PAUSE_NANOS);
    var _ = demand.schedule(this::start, pauseNanos, TimeUnit.NANOSECONDS);
  }
}
