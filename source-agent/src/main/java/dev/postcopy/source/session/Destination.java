package dev.postcopy.source.session;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import dev.postcopy.preflight.Checklist;
import dev.postcopy.preflight.TlsChecks;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.Transport;
import dev.postcopy.transport.tls.TlsEndpoint;
import dev.postcopy.transport.tls.TlsFailure;
import dev.postcopy.wire.FrameSink;
import io.netty.channel.EventLoopGroup;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.Optional;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Where the destination agent listens, and the patience to reach it. */
final class Destination {

  private static final Logger log = LoggerFactory.getLogger(Destination.class);
  private static final int RETRY_MILLIS = 100;

  private final HostAndPort host;
  private final Optional<TlsEndpoint> tls;
  private final BooleanSupplier cancelled;

  /** Kept while somebody answers there: both connections of a link go to one address. */
  private @Nullable InetSocketAddress address;

  private Destination(
      HostAndPort host,
      @Nullable InetSocketAddress address,
      Optional<TlsEndpoint> tls,
      BooleanSupplier cancelled) {
    this.host = host;
    this.address = address;
    this.tls = tls;
    this.cancelled = cancelled;
  }

  /**
   * That of the options.
   *
   * @param cancelled whether to stop trying
   * @throws Refusal where the host's name has no address, or TLS is not set up as it must be
   */
  static Destination of(MigrateOptions options, BooleanSupplier cancelled) {
    return at(options, options.destination().resolve(), cancelled);
  }

  /**
   * That of the options, which was reached before: where its name has no address at the moment, it
   * is as if nobody answered.
   *
   * @param cancelled whether to stop trying
   * @throws Refusal where TLS is not set up as it must be
   */
  static Destination known(MigrateOptions options, BooleanSupplier cancelled) {
    return at(options, null, cancelled);
  }

  private static Destination at(
      MigrateOptions options, @Nullable InetSocketAddress address, BooleanSupplier cancelled) {
    Optional<TlsEndpoint> tls = options.tls().connecting(options.destination(), options.tlsName());
    TlsChecks.ownDates(Checklist.strict(), tls);
    return new Destination(options.destination(), address, tls, cancelled);
  }

  /** The same one, to be tried also by a migration that was cancelled. */
  Destination uncancelled() {
    return new Destination(host, address, tls, () -> false);
  }

  /**
   * Connects, and tries again for {@code patience} while nobody answers.
   *
   * @param opened called on the connection's event loop; returns where its frames go
   * @throws TlsFailedException where somebody answers who is not the one, or does not take us for
   *     it
   */
  Connection connect(EventLoopGroup loop, Duration patience, Function<Connection, FrameSink> opened)
      throws MigrationFailedException {
    long deadline = System.nanoTime() + patience.toNanos();
    while (true) {
      int timeoutMillis =
          (int)
              Math.max(1, Math.min(patience.toMillis(), (deadline - System.nanoTime()) / 1000000));
      try {
        return Transport.connect(loop, resolve(), timeoutMillis, tls, opened);
      } catch (TlsFailure e) {
        if (e.isPermanent() || System.nanoTime() >= deadline) {
          throw new TlsFailedException(e);
        }
        log.debug("TLS: {}", e.getMessage());
      } catch (IOException e) {
        log.debug("connect: {}", e.getMessage());
        if (System.nanoTime() >= deadline) {
          address = null;
          throw new UnreachableException(
              "no destination agent at %s within %d s (%s)"
                  .formatted(host, patience.toSeconds(), e.getMessage()));
        }
      }
      pause();
    }
  }

  private InetSocketAddress resolve() throws IOException {
    InetSocketAddress known = address;
    if (known == null) {
      try {
        known = host.resolve();
      } catch (Refusal e) {
        throw new IOException(e.reason(), e);
      }
      address = known;
    }
    return known;
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
