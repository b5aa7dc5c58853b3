package dev.postcopy.dest.session;

import dev.postcopy.transport.Connection;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameSink;
import dev.postcopy.wire.ProtocolException;
import java.util.Queue;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A connection of which nothing is known yet: it has to say HELLO, and soon. */
final class Greeting implements FrameSink {

  private static final Logger log = LoggerFactory.getLogger(Greeting.class);
  private static final int PATIENCE_SECONDS = 5;

  private final Connection connection;
  private final Function<DestinationEvent.Greeted, @Nullable Queue<DestinationEvent>> route;
  private DestinationEvent.@Nullable Greeted greeted;
  private @Nullable Queue<DestinationEvent> queue;

  /**
   * @param route tells, on the connection's loop, whose greeting it is; null for one who was sent
   *     away
   */
  Greeting(
      Connection connection,
      Function<DestinationEvent.Greeted, @Nullable Queue<DestinationEvent>> route) {
    this.connection = connection;
    this.route = route;
    var _ = connection.eventLoop().schedule(this::giveUp, PATIENCE_SECONDS, TimeUnit.SECONDS);
  }

  @Override
  public void onControl(ControlFrame frame) {
    if (greeted != null || !(frame instanceof ControlFrame.Hello hello)) {
      throw new ProtocolException("a frame where HELLO was expected");
    }
    greeted = new DestinationEvent.Greeted(connection, hello);
    queue = route.apply(greeted);
    if (queue != null) {
      queue.add(greeted);
    }
  }

  private void giveUp() {
    if (greeted == null) {
      connection.close();
    }
  }

  @Override
  public void onClosed(CloseCause cause) {
    if (greeted != null) {
      if (queue != null) {
        // Whoever greets and goes, over and over, must not fill the queue of a busy session.
        queue.remove(greeted);
      }
    } else if (cause instanceof CloseCause.Ended) {
      // As preflight does it, and whoever only wants to know whether somebody listens.
      log.info("connection from {} without a migration: {}", connection.peer(), cause.text());
    } else {
      log.warn("connection from {} without a migration: {}", connection.peer(), cause.text());
    }
  }
}
