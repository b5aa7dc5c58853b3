package dev.postcopy.dest.session;

import dev.postcopy.transport.Connection;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameSink;
import dev.postcopy.wire.ProtocolException;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A connection of which nothing is known yet: it has to say HELLO, and soon. */
final class Greeting implements FrameSink {

  private static final Logger log = LoggerFactory.getLogger(Greeting.class);
  private static final int PATIENCE_SECONDS = 5;

  private final Connection connection;
  private final Consumer<DestinationEvent> events;
  private boolean greeted;

  Greeting(Connection connection, Consumer<DestinationEvent> events) {
    this.connection = connection;
    this.events = events;
    var _ = connection.eventLoop().schedule(this::giveUp, PATIENCE_SECONDS, TimeUnit.SECONDS);
  }

  @Override
  public void onControl(ControlFrame frame) {
    if (greeted || !(frame instanceof ControlFrame.Hello hello)) {
      throw new ProtocolException("a frame where HELLO was expected");
    }
    greeted = true;
    events.accept(new DestinationEvent.Greeted(connection, hello));
  }

  private void giveUp() {
    if (!greeted) {
      connection.close();
    }
  }

  @Override
  public void onClosed(String cause) {
    if (greeted) {
      return;
    }
    if (cause.startsWith("protocol error")) {
      log.warn("connection from {} without a migration: {}", connection.peer(), cause);
    } else {
      // As preflight does it, and whoever only wants to know whether somebody listens.
      log.info("connection from {} without a migration: {}", connection.peer(), cause);
    }
  }
}
