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

  private final ReloadedFiles<SslContext> context;
  private final @Nullable String destinationName;

  private TlsEndpoint(ReloadedFiles<SslContext> context, @Nullable String destinationName) {
    this.context = context;
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

  private static SslContext serverContext(Path folder, TlsMaterial material) {
    return build(
        folder,
        material,
        SslContextBuilder.forServer(
                material.key(), material.chain().toArray(X509Certificate[]::new))
            .clientAuth(ClientAuth.REQUIRE));
  }

  private static SslContext clientContext(Path folder, TlsMaterial material) {
    return build(
        folder,
        material,
        SslContextBuilder.forClient()
            .keyManager(material.key(), material.chain().toArray(X509Certificate[]::new))
            .endpointIdentificationAlgorithm("HTTPS"));
  }

  private static SslContext build(Path folder, TlsMaterial material, SslContextBuilder builder) {
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
    return built;
  }

  /** What encrypts one connection. */
  public SslHandler newHandler(ByteBufAllocator allocator) {
    SslHandler handler =
        destinationName == null
            ? context.current().newHandler(allocator, HANDSHAKES)
            : context.current().newHandler(allocator, destinationName, 0, HANDSHAKES);
    handler.setHandshakeTimeoutMillis(HANDSHAKE_MILLIS);
    handler.setCloseNotifyFlushTimeoutMillis(CLOSE_NOTIFY_MILLIS);
    return handler;
  }
}
