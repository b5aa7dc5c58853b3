package dev.postcopy.transport.tls;

import dev.postcopy.cli.Refusal;
import io.netty.buffer.ByteBufAllocator;
import io.netty.handler.ssl.ClientAuth;
import io.netty.handler.ssl.OpenSsl;
import io.netty.handler.ssl.OpenSslSessionContext;
import io.netty.handler.ssl.SslContext;
import io.netty.handler.ssl.SslContextBuilder;
import io.netty.handler.ssl.SslHandler;
import io.netty.handler.ssl.SslProvider;
import java.nio.file.Path;
import java.security.cert.X509Certificate;
import java.time.Instant;
import java.util.concurrent.Executor;
import java.util.concurrent.Executors;
import javax.net.ssl.SSLException;
import org.jspecify.annotations.Nullable;

/**
 * One side of connections with TLS 1.3, with certificates on both sides. The files are looked at
 * for each connection: a certificate is renewed by writing it. For any thread.
 */
public final class TlsEndpoint {

  private static final String TLS_1_3 = "TLSv1.3";

  /** A handshake that takes longer is given up. */
  public static final int HANDSHAKE_MILLIS = 5000;

  /** A peer that is gone, with the socket full, does not hold up those who close. */
  private static final int CLOSE_NOTIFY_MILLIS = 500;

  /**
   * Certificates are verified and signed for away from the event loops: a stranger who connects
   * over and over takes no time from those who wait for a page.
   */
  private static final Executor HANDSHAKES =
      Executors.newSingleThreadExecutor(
          Thread.ofPlatform().daemon().name("tls-handshake").factory());

  private final ReloadedFiles<Loaded> loaded;
  private final @Nullable String destinationName;

  /**
   * What was made of the files.
   *
   * @param end until when the own certificate is valid
   */
  private record Loaded(SslContext context, Instant end) {}

  private TlsEndpoint(ReloadedFiles<Loaded> loaded, @Nullable String destinationName) {
    this.loaded = loaded;
    this.destinationName = destinationName;
  }

  /**
   * The side that listens.
   *
   * @throws Refusal where the files in {@code folder} cannot be used
   */
  public static TlsEndpoint listening(Path folder) {
    requireLibrary();
    return new TlsEndpoint(
        new ReloadedFiles<>(
            TlsMaterial.filesIn(folder), () -> serverContext(folder, TlsMaterial.readFrom(folder))),
        null);
  }

  /**
   * The side that connects.
   *
   * @param destinationName which the other side's certificate must have among its alternative names
   * @throws Refusal where the files in {@code folder} cannot be used
   */
  public static TlsEndpoint connecting(Path folder, String destinationName) {
    requireLibrary();
    return new TlsEndpoint(
        new ReloadedFiles<>(
            TlsMaterial.filesIn(folder), () -> clientContext(folder, TlsMaterial.readFrom(folder))),
        destinationName);
  }

  private static void requireLibrary() {
    if (!OpenSsl.isAvailable()) {
      throw new Refusal(
          "the TLS library cannot be loaded: " + OpenSsl.unavailabilityCause().getMessage(),
          "let the agent write to java.io.tmpdir, and run files from there");
    }
  }

  private static Loaded serverContext(Path folder, TlsMaterial material) {
    return build(
        folder,
        material,
        SslContextBuilder.forServer(
                material.key(), material.chain().toArray(X509Certificate[]::new))
            .clientAuth(ClientAuth.REQUIRE));
  }

  private static Loaded clientContext(Path folder, TlsMaterial material) {
    return build(
        folder,
        material,
        SslContextBuilder.forClient()
            .keyManager(material.key(), material.chain().toArray(X509Certificate[]::new))
            .endpointIdentificationAlgorithm("HTTPS"));
  }

  private static Loaded build(Path folder, TlsMaterial material, SslContextBuilder builder) {
    SslContext built;
    try {
      built =
          builder
              .sslProvider(SslProvider.OPENSSL)
              .protocols(TLS_1_3)
              .trustManager(material.authorities().toArray(X509Certificate[]::new))
              .build();
    } catch (SSLException | IllegalArgumentException e) {
      throw new Refusal(
          "the certificates in %s cannot be used: %s".formatted(folder, e.getMessage()),
          "use EC or RSA keys of a usual size");
    }
    // A session that is resumed would not show its certificate again.
    if (built.sessionContext() instanceof OpenSslSessionContext sessions) {
      sessions.setSessionCacheEnabled(false);
    }
    return new Loaded(built, material.chain().getFirst().getNotAfter().toInstant());
  }

  /** Until when the own certificate is valid. */
  public Instant certificateEnd() {
    return loaded.current().end();
  }

  /** What encrypts one connection. */
  public SslHandler newHandler(ByteBufAllocator allocator) {
    SslHandler handler =
        destinationName == null
            ? loaded.current().context().newHandler(allocator, HANDSHAKES)
            : loaded.current().context().newHandler(allocator, destinationName, 0, HANDSHAKES);
    handler.setHandshakeTimeoutMillis(HANDSHAKE_MILLIS);
    handler.setCloseNotifyFlushTimeoutMillis(CLOSE_NOTIFY_MILLIS);
    return handler;
  }
}
