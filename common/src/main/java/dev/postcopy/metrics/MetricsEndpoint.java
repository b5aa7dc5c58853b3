package dev.postcopy.metrics;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import io.prometheus.metrics.exporter.httpserver.HTTPServer;
import io.prometheus.metrics.model.registry.PrometheusRegistry;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;

/** Where Prometheus finds the figures of an agent: {@code http://127.0.0.1:PORT/metrics}. */
public final class MetricsEndpoint implements AutoCloseable {

  private final HTTPServer server;

  private MetricsEndpoint(HTTPServer server) {
    this.server = server;
  }

  /**
   * Begins to answer.
   *
   * @param address on loopback: the figures name guests, and nobody is asked who he is
   * @throws Refusal where the address is another, or taken
   */
  public static MetricsEndpoint open(HostAndPort address, MigrationLedger ledger) {
    InetSocketAddress resolved = address.resolve();
    InetAddress host = resolved.getAddress();
    if (host == null || !host.isLoopbackAddress()) {
      throw new Refusal(
          "metrics on %s could be read by anybody".formatted(address),
          "choose an address of loopback, and let a proxy that authenticates read it");
    }
    PrometheusRegistry registry = new PrometheusRegistry();
    registry.register(new AgentCollector(ledger));
    try {
      return new MetricsEndpoint(
          HTTPServer.builder()
              .inetAddress(host)
              .port(resolved.getPort())
              .registry(registry)
              .buildAndStart());
    } catch (IOException e) {
      throw Refusal.passing(
          "cannot offer metrics on %s: %s".formatted(address, e.getMessage()),
          "choose a free port");
    }
  }

  /** The port that it got. */
  public int port() {
    return server.getPort();
  }

  @Override
  public void close() {
    server.close();
  }
}
