package dev.postcopy.transport;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import dev.postcopy.transport.tls.TlsEndpoint;
import dev.postcopy.transport.tls.TlsFailure;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.FrameSink;
import dev.postcopy.wire.Wire;
import io.netty.channel.EventLoopGroup;
import java.io.IOException;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Connects to a destination agent as a source would, and asks whether a guest may come; no
 * migration is begun.
 */
public final class Probe {

  private static final int PATIENCE_MILLIS = 5000;

  private Probe() {}

  /**
   * What a destination agent said that takes guests.
   *
   * @param certificate its own, which was verified; empty without TLS
   */
  public record Answer(Optional<X509Certificate> certificate, ClockSkew skew) {}

  /**
   * Asks, and leaves.
   *
   * @param vm by which name the destination knows the guest; empty: not asked about
   * @throws Refusal where nobody answers, one of us does not take the other's certificate, or the
   *     guest may not come
   */
  public static Answer of(
      EventLoopGroup loop, HostAndPort address, Optional<TlsEndpoint> tls, String vm) {
    Listener listener = new Listener();
    Connection connection = connect(loop, address, tls, listener);
    // It cannot be told any more when the answer has closed the connection.
    Optional<X509Certificate> certificate = connection.peerCertificate();
    try {
      long askedMillis = System.currentTimeMillis();
      connection.send(
          new ControlFrame.Hello(
              Wire.VERSION, UUID.randomUUID(), ConnectionRole.INQUIRY, 0, vm, List.of()));
      ControlFrame answer = listener.answer.get(PATIENCE_MILLIS, TimeUnit.MILLISECONDS);
      long heardMillis = System.currentTimeMillis();
      ControlFrame.Welcome welcome = requireWelcome(address, answer);
      return new Answer(certificate, ClockSkew.of(askedMillis, welcome.epochMillis(), heardMillis));
    } catch (ExecutionException e) {
      throw e.getCause() instanceof Refusal refusal ? refusal : new IllegalStateException(e);
    } catch (TimeoutException e) {
      throw new Refusal(
          address + " takes a connection, and does not answer",
          "check that a destination agent listens there");
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new Refusal("interrupted", "try again");
    } finally {
      connection.closeAndWait();
    }
  }

  private static Connection connect(
      EventLoopGroup loop, HostAndPort address, Optional<TlsEndpoint> tls, FrameSink sink) {
    try {
      return Transport.connect(loop, address.resolve(), PATIENCE_MILLIS, tls, made -> sink);
    } catch (TlsFailure e) {
      throw new Refusal(e.reason(), e.remedy());
    } catch (IOException e) {
      throw new Refusal(
          "nobody answers at %s: %s".formatted(address, e.getMessage()),
          "start a destination agent there, and let the firewall pass it");
    }
  }

  private static ControlFrame.Welcome requireWelcome(HostAndPort address, ControlFrame answer) {
    return switch (answer) {
      case ControlFrame.Refuse(String reason, String remedy) ->
          throw new Refusal("the destination refuses: " + reason, remedy);
      case ControlFrame.Welcome welcome when welcome.otherVersion().isPresent() ->
          throw new Refusal(welcome.otherVersion().get(), "install the same version on both hosts");
      case ControlFrame.Welcome welcome -> welcome;
      default ->
          throw new Refusal(
              "%s answers with %s".formatted(address, answer),
              "check that a destination agent of the same version listens there");
    };
  }

  /**
   * The first answer, or why there is none. With TLS 1.3 a destination looks at our certificate
   * when we think that the handshake is over (RFC 8446, 2), and says so before it closes.
   */
  private static final class Listener implements FrameSink {

    private final CompletableFuture<ControlFrame> answer = new CompletableFuture<>();

    @Override
    public void onControl(ControlFrame frame) {
      answer.complete(frame);
    }

    @Override
    public void onClosed(CloseCause cause) {
      answer.completeExceptionally(
          cause instanceof CloseCause.Broken(TlsFailure failure)
              ? new Refusal(failure.reason(), failure.remedy())
              : new Refusal(
                  "no destination agent of this version answers: " + cause.text(),
                  "check that one listens there"));
    }
  }
}
