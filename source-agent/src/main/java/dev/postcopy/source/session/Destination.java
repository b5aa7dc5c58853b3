package dev.postcopy.source.session;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.source.page.BackgroundPusher;
import dev.postcopy.source.page.RequestHandler;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.FrameSink;
import io.netty.channel.EventLoopGroup;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.concurrent.BlockingQueue;
import java.util.function.Function;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The two connections to the destination, and where the frames that arrive on them go. */
final class Destination {

  private static final Logger log = LoggerFactory.getLogger(Destination.class);
  private static final int RETRY_MILLIS = 100;

  private final InetSocketAddress address;
  private final BlockingQueue<SourceEvent> events;

  Destination(HostAndPort to, BlockingQueue<SourceEvent> events) {
    this.address = to.resolve();
    this.events = events;
  }

  /** Connects the demand connection; tries again for {@code patience} while nobody answers. */
  Connection connectDemand(
      EventLoopGroup loop, Duration patience, Function<Connection, RequestHandler> requests)
      throws MigrationFailedException {
    return connect(
        loop, patience, connection -> new DemandSink(requests.apply(connection), events));
  }

  /** Connects the bulk connection, which comes second. */
  Connection connectBulk(
      EventLoopGroup loop, Duration patience, Function<Connection, BackgroundPusher> pusher)
      throws MigrationFailedException {
    return connect(loop, patience, connection -> new BulkSink(pusher.apply(connection), events));
  }

  private Connection connect(
      EventLoopGroup loop, Duration patience, Function<Connection, FrameSink> opened)
      throws MigrationFailedException {
    long deadline = System.nanoTime() + patience.toNanos();
    while (true) {
      int timeoutMillis =
          (int)
              Math.max(1, Math.min(patience.toMillis(), (deadline - System.nanoTime()) / 1000000));
      try {
        return Transport.connect(loop, address, timeoutMillis, opened);
      } catch (IOException e) {
        log.debug("connect: {}", e.getMessage());
        if (System.nanoTime() >= deadline) {
          throw new MigrationFailedException(
              "no destination agent at %s within %d s (%s)"
                  .formatted(address, patience.toSeconds(), e.getMessage()));
        }
      }
      pause();
    }
  }

  private static void pause() throws MigrationFailedException {
    try {
      Thread.sleep(RETRY_MILLIS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new MigrationFailedException("interrupted");
    }
  }
}
