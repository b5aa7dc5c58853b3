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

  /** A ping came back. */
  void onPong(long stamp) {
    if (stamp != outstanding) {
      throw new ProtocolException("a PONG that nobody asked for");
    }
    outstanding = NONE;
    onRoundTripNanos.accept(System.nanoTime() - epochNanos - stamp);
    var _ = demand.schedule(this::start, INTERVAL_MICROS, TimeUnit.MICROSECONDS);
  }
}
