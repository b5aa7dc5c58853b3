package dev.postcopy.preflight;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.transport.Probe;
import dev.postcopy.transport.tls.TlsEndpoint;
import io.netty.channel.EventLoopGroup;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import java.util.function.Supplier;

/** Certificates, their dates, and the way to the other host. */
public final class TlsChecks {

  private static final Duration SOON = Duration.ofDays(14);

  private TlsChecks() {}

  /**
   * The certificates of this host.
   *
   * @param opened throws a refusal where they are needed and not there, or cannot be used
   * @return empty where that is so; an empty endpoint where TLS is not wanted
   */
  public static Optional<Optional<TlsEndpoint>> own(
      Checklist list, Supplier<Optional<TlsEndpoint>> opened) {
    Optional<Optional<TlsEndpoint>> tls =
        list.require(
            "TLS", opened, found -> found.isPresent() ? "certificates can be used" : "not used");
    tls.flatMap(endpoint -> endpoint)
        .ifPresent(endpoint -> dates(list, "certificate of this host", endpoint.certificateEnd()));
    return tls;
  }

  /** The destination, and its certificate. */
  public static void destination(
      Checklist list, EventLoopGroup loop, HostAndPort address, Optional<TlsEndpoint> tls) {
    list.require(
            "destination " + address,
            () -> Probe.of(loop, address, tls),
            found ->
                found.isPresent()
                    ? "answers, and both sides take the other's certificate"
                    : "somebody listens; who, is not known without TLS")
        .flatMap(certificate -> certificate)
        .map(X509Certificate::getNotAfter)
        .ifPresent(end -> dates(list, "certificate of the destination", end.toInstant()));
    list.note(
        "clocks",
        "not compared: neither TLS nor the protocol tells the time, and only the dates of"
            + " certificates depend on it");
  }

  private static void dates(Checklist list, String name, Instant end) {
    long days = Duration.between(Instant.now(), end).toDays();
    String finding = "valid until %s, %d days from now".formatted(end, days);
    if (days < SOON.toDays()) {
      list.warn(name, finding, "renew it; agents read the new one by themselves");
    } else {
      list.hold(name, finding);
    }
  }
}
