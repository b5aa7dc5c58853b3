package dev.postcopy.preflight;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.transport.ClockSkew;
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
    tls.ifPresent(endpoint -> ownDates(list, endpoint));
    return tls;
  }

  /** How long the certificate of this host is good still. */
  public static void ownDates(Checklist list, Optional<TlsEndpoint> tls) {
    tls.ifPresent(endpoint -> dates(list, "certificate of this host", endpoint.certificateEnd()));
  }

  /**
   * The destination agent, its certificate, and its clock.
   *
   * @param vm which guest is to come; empty: not asked about
   */
  public static void destination(
      Checklist list,
      EventLoopGroup loop,
      HostAndPort address,
      Optional<TlsEndpoint> tls,
      String vm) {
    Optional<Probe.Answer> answer =
        list.require(
            "destination " + address,
            () -> Probe.of(loop, address, tls, vm),
            found ->
                (vm.isEmpty() ? "answers" : "VM '" + vm + "' may come")
                    + (found.certificate().isPresent()
                        ? ", and both sides take the other's certificate"
                        : "; who it is, is not known without TLS"));
    answer
        .flatMap(Probe.Answer::certificate)
        .map(X509Certificate::getNotAfter)
        .ifPresent(end -> dates(list, "certificate of the destination", end.toInstant()));
    answer.map(Probe.Answer::skew).ifPresent(skew -> clocks(list, skew));
  }

  private static void clocks(Checklist list, ClockSkew skew) {
    if (skew.isNotable()) {
      list.warn(
          "clocks",
          skew.ofTheDestination() + ", and certificates are good by the clock of who looks at them",
          "let both hosts synchronise their clocks");
    } else {
      list.hold("clocks", "those of both hosts agree");
    }
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
