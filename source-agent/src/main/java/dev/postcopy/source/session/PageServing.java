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
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
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
        roundTrips.keep(
            new RoundTripMeter(
                made, nanos -> pusher.get().onRoundTrip(nanos), window::measuringPauseNanos));
    return new DemandSink(
        requests.keep(new RequestHandler(memory, sent, made)), meter, received, events);
  }

  /** The bulk connection is there; on its loop. */
  FrameSink onBulkConnected(Connection made) {
    bulk.keep(made);
    return new BulkSink(
        pusher.keep(
            new BackgroundPusher(
                memory, sent, made, window, limit, order, patience, new Told(events))),
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

  /**
   * The guest has stopped: its pages are final.
   *
   * @param unasked pages that are sent before they are asked for
   */
  void startAnswering(int... unasked) {
    demand
        .get()
        .execute(
            () -> {
              requests.get().startServing();
              requests.get().sendUnasked(unasked);
            });
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

  /**
   * Pushes with the guest running what was not pushed yet of pages [first, end); {@link
   * SourceEvent.Settled} answers.
   *
   * @param notNow pages that are left out; not to be changed before that
   */
  void startStretch(int first, int end, PageBitmap notNow, int turn) {
    bulk.get().execute(() -> pusher.get().startStretch(first, end, notNow, turn));
  }

  /** Pushes no more for now. */
  void rest() {
    bulk.get().execute(() -> pusher.get().rest());
  }

  /**
   * Pushes no more for now; {@link SourceEvent.Settled} tells when the destination has dealt with
   * everything, dropping included.
   */
  void rest(int turn) {
    bulk.get().execute(() -> pusher.get().rest(turn));
  }

  /**
   * Takes those of pages [first, end) back that are set in {@code written} and were sent. When this
   * returns the frames that say so are ahead of everything that the bulk connection is given later,
   * and {@code written} is not read any more.
   *
   * @return how many these were
   */
  int takeBack(PageBitmap written, int first, int end) throws MigrationFailedException {
    CompletableFuture<Integer> taken = new CompletableFuture<>();
    bulk.get()
        .execute(
            () -> {
              try {
                taken.complete(pusher.get().takeBack(written, first, end));
              } finally {
                taken.cancel(false);
              }
            });
    try {
      return taken.get();
    } catch (CancellationException | ExecutionException e) {
      throw new MigrationFailedException("pages could not be taken back");
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new MigrationFailedException("interrupted");
    }
  }

  /** Pushes what is left although the guest does not run at the destination yet. */
  void startPushingEarly() {
    bulk.get().execute(pusher.get()::start);
  }

  /** Pushes the pages of {@code first} before others, which is not the caller's any more. */
  void prefer(PageBitmap first) {
    bulk.get().execute(() -> pusher.get().prefer(first));
  }

  private record Told(Consumer<SourceEvent> events) implements BackgroundPusher.PushListener {
    @Override
    public void onDrained() {
      events.accept(new SourceEvent.Drained());
    }

    @Override
    public void onSettled(int turn) {
      events.accept(new SourceEvent.Settled(turn));
    }
  }

  /** What the push may have in flight; from any thread. */
  long windowBytes() {
    return window.bytes();
  }

  SentPages sent() {
    return sent;
  }

  /** Bytes of all frames on both connections. */
  long bytesSent() {
    return demand.get().bytesWritten() + bulk.get().bytesWritten();
  }
}
