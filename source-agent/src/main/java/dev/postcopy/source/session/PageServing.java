package dev.postcopy.source.session;

import dev.postcopy.memory.PageBitmap;
import dev.postcopy.source.memory.GuestMemory;
import dev.postcopy.source.page.BackgroundPusher;
import dev.postcopy.source.page.BackgroundPusher.PushOrder;
import dev.postcopy.source.page.BandwidthLimit;
import dev.postcopy.source.page.BulkWindow;
import dev.postcopy.source.page.RequestHandler;
import dev.postcopy.source.page.SentPages;
import dev.postcopy.transport.Connection;
import dev.postcopy.wire.FrameSink;
import java.time.Duration;
import java.util.function.Consumer;

/**
 * Everything that puts pages on the wire, put together: requests are answered on the demand
 * connection's loop, the rest is pushed on the bulk connection's loop, and round trips on the first
 * tell the second how much is too much.
 */
final class PageServing {

  private final GuestMemory memory;
  private final BulkWindow window;
  private final BandwidthLimit limit;
  private final PushOrder order;
  private final Duration patience;
  private final Consumer<SourceEvent> events;
  private final SentPages sent;
  private final PageBitmap received;
  private final Made<Connection> demand = new Made<>();
  private final Made<Connection> bulk = new Made<>();
  private final Made<RequestHandler> requests = new Made<>();
  private final Made<RoundTripMeter> roundTrips = new Made<>();
  private final Made<BackgroundPusher> pusher = new Made<>();

  PageServing(
      GuestMemory memory,
      SentPages sent,
      BulkWindow window,
      BandwidthLimit limit,
      PushOrder order,
      Duration patience,
      Consumer<SourceEvent> events) {
    this.memory = memory;
    this.window = window;
    this.limit = limit;
    this.order = order;
    this.patience = patience;
    this.events = events;
    this.sent = sent;
    this.received = new PageBitmap(memory.layout().pageCount());
  }

  /** The demand connection, which comes first, is there; on its loop. */
  FrameSink onDemandConnected(Connection made) {
    demand.keep(made);
    RoundTripMeter meter =
        roundTrips.keep(new RoundTripMeter(made, nanos -> pusher.get().onRoundTrip(nanos)));
    return new DemandSink(
        requests.keep(new RequestHandler(memory, sent, made)), meter, received, events);
  }

  /** The bulk connection is there; on its loop. */
  FrameSink onBulkConnected(Connection made) {
    bulk.keep(made);
    Runnable onDrained = () -> events.accept(new SourceEvent.Drained());
    return new BulkSink(
        pusher.keep(
            new BackgroundPusher(memory, sent, made, window, limit, order, patience, onDrained)),
        events);
  }

  /** Both connections are there and idle: how long is the way? And is there somebody at its end? */
  void startMeasuring() {
    demand
        .get()
        .execute(
            () -> {
              demand.get().expectSignsOfLife(patience);
              roundTrips.get().start();
            });
  }

  /** Everything but what the destination told us it has is to be sent. */
  void restart(int dataPages, int zeroPages) {
    sent.restart(received, dataPages, zeroPages);
  }

  /** How many pages the destination told us it has. */
  int receivedPages() {
    return received.cardinality();
  }

  /** The guest has stopped: its pages are final. */
  void startAnswering() {
    demand.get().execute(requests.get()::startServing);
  }

  /** Nothing is more urgent any more than the pages that nobody asked for. */
  void startPushing() {
    demand.get().execute(requests.get()::stopReadingAhead);
    bulk.get().execute(pusher.get()::start);
  }

  /** The last round trip on the demand connection; 0 before there was one. From any thread. */
  long roundTripMicros() {
    return roundTrips.get().lastMicros();
  }

  SentPages sent() {
    return sent;
  }

  /** Bytes of all frames on both connections. */
  long bytesSent() {
    return demand.get().bytesWritten() + bulk.get().bytesWritten();
  }
}
