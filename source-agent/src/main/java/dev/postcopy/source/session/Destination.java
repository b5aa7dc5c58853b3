package dev.postcopy.source.session;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.FrameSink;
import io.netty.channel.EventLoopGroup;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Where the destination agent listens, and the patience to reach it. */
final class Destination {

  private static final Logger log = LoggerFactory.getLogger(Destination.class);
  private static final int RETRY_MILLIS = 100;

  private final InetSocketAddress address;
  private final BooleanSupplier cancelled;

  Destination(HostAndPort to, BooleanSupplier cancelled) {
    this.address = to.resolve();
    this.cancelled = cancelled;
  }

  /**
   * Connects, and tries again for {@code patience} while nobody answers.
   *
   * @param opened called on the connection's event loop; returns where its frames go
   */
  Connection connect(EventLoopGroup loop, Duration patience, Function<Connection, FrameSink> opened)
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
          throw new UnreachableException(
              "no destination agent at %s within %d s (%s)"
                  .formatted(address, patience.toSeconds(), e.getMessage()));
        }
      }
      pause();
    }
  }

  private void pause() throws MigrationFailedException {
    if (cancelled.getAsBoolean()) {
      throw new MigrationFailedException("cancelled");
    }
    try {
      Thread.sleep(RETRY_MILLIS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new MigrationFailedException("interrupted");
    }
  }
}
