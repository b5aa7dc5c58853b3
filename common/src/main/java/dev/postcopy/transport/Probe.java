package dev.postcopy.transport;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import dev.postcopy.transport.tls.TlsEndpoint;
import dev.postcopy.transport.tls.TlsFailure;
import dev.postcopy.wire.CloseCause;
import io.netty.channel.EventLoopGroup;
import java.io.IOException;
import java.security.cert.X509Certificate;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Connects to a destination agent as a source would, and leaves without a word: no migration is
 * begun. A destination that does not want us says so before it closes: with TLS 1.3 it looks at our
 * certificate when we think that the handshake is over (RFC 8446, 2).
 */
public final class Probe {

  private static final int PATIENCE_MILLIS = 5000;

  private Probe() {}

  /**
   * Connects and leaves.
   *
   * @return the destination's certificate, which was verified; empty without TLS
   * @throws Refusal where nobody answers, or one of us does not take the other's certificate
   */
  public static Optional<X509Certificate> of(
      EventLoopGroup loop, HostAndPort address, Optional<TlsEndpoint> tls) {
    CompletableFuture<CloseCause> closed = new CompletableFuture<>();
    Connection connection;
    try {
      connection =
          Transport.connect(
              loop, address.resolve(), PATIENCE_MILLIS, tls, made -> closed::complete);
    } catch (TlsFailure e) {
      throw new Refusal(e.reason(), e.remedy());
    } catch (IOException e) {
      throw new Refusal(
          "nobody answers at %s: %s".formatted(address, e.getMessage()),
          "start a destination agent there, and let the firewall pass it");
    }
    Optional<X509Certificate> certificate = connection.peerCertificate();
    try {
      connection.endOutput();
      CloseCause cause = closed.get(PATIENCE_MILLIS, TimeUnit.MILLISECONDS);
      if (cause instanceof CloseCause.Broken(TlsFailure failure)) {
        throw new Refusal(failure.reason(), failure.remedy());
      }
      return certificate;
    } catch (TimeoutException | ExecutionException e) {
      throw new Refusal(
          address + " does not close a connection that has ended",
          "check that a destination agent listens there");
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new Refusal("interrupted", "try again");
    } finally {
      connection.closeAndWait();
    }
  }
}
