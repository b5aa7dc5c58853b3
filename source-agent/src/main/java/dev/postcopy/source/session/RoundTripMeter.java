package dev.postcopy.source.session;

import dev.postcopy.transport.Connection;
import dev.postcopy.wire.ProtocolException;
import java.util.concurrent.TimeUnit;
import java.util.function.LongConsumer;

/**
 * Measures, over and over, how long a small frame takes to the destination and back on the demand
 * connection: what a fault's request and answer take at the least. One ping is on its way at a
 * time, as long as the connection is there: the destination knows by them that somebody is. Owned
 * by the demand loop.
 */
final class RoundTripMeter {

  private static final long INTERVAL_MICROS = 1000;

  private static final long NONE = -1;

  private final Connection demand;
  private final LongConsumer onRoundTripNanos;
  private final long epochNanos = System.nanoTime();
  private long outstanding = NONE;
  private volatile long lastNanos;

  /**
   * @param onRoundTripNanos told of every round trip, on the demand loop
   */
  RoundTripMeter(Connection demand, LongConsumer onRoundTripNanos) {
    this.demand = demand;
    this.onRoundTripNanos = onRoundTripNanos;
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
    lastNanos = System.nanoTime() - epochNanos - stamp;
    onRoundTripNanos.accept(lastNanos);
    var _ = demand.schedule(this::start, INTERVAL_MICROS, TimeUnit.MICROSECONDS);
  }
}
