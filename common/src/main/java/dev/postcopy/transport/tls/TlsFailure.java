package dev.postcopy.transport.tls;

import io.netty.handler.ssl.NotSslRecordException;
import io.netty.handler.ssl.SslClosedEngineException;
import io.netty.handler.ssl.SslHandshakeTimeoutException;
import java.io.IOException;
import java.nio.channels.ClosedChannelException;
import java.security.cert.CertPathBuilderException;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertificateException;
import java.security.cert.CertificateExpiredException;
import java.security.cert.CertificateNotYetValidException;
import javax.net.ssl.SSLException;
import org.jspecify.annotations.Nullable;

/**
 * Why TLS did not come about, or broke, in an operator's words. The libraries' own are for
 * programmers, and name the cause several exceptions deep or by an alert's number (RFC 8446, 6.2).
 */
public final class TlsFailure extends IOException {

  private static final long serialVersionUID = 1L;

  private static final String PREFIX = "TLS: ";

  private final String reason;
  private final String remedy;
  private final boolean permanent;

  private TlsFailure(String reason, String remedy, boolean permanent) {
    super(PREFIX + reason + "; " + remedy);
    this.reason = PREFIX + reason;
    this.remedy = remedy;
    this.permanent = permanent;
  }

  public String reason() {
    return reason;
  }

  public String remedy() {
    return remedy;
  }

  /** Whether it will be the same the next time, until an operator does something. */
  public boolean isPermanent() {
    return permanent;
  }

  /**
   * Explains what a TLS handler reported.
   *
   * @param peerName whom we were talking to
   */
  static TlsFailure explain(Throwable thrown, String peerName) {
    for (Throwable cause = thrown; cause != null; cause = cause.getCause()) {
      TlsFailure known = explainOne(cause, peerName);
      if (known != null) {
        return known;
      }
    }
    return alert(String.valueOf(thrown.getMessage()), peerName);
  }

  private static @Nullable TlsFailure explainOne(Throwable cause, String peerName) {
    return switch (cause) {
      case CertificateExpiredException e -> expired(peerName);
      case CertificateNotYetValidException e ->
          permanent(
              "the certificate of " + peerName + " is not valid yet", "check both hosts' clocks");
      case CertPathValidatorException e
          when e.getReason() == CertPathValidatorException.BasicReason.EXPIRED ->
          expired(peerName);
      case NotSslRecordException e ->
          permanent(peerName + " does not speak TLS", "give it certificates with --tls-dir");
      case ClosedChannelException e -> closed(peerName);
      case SslClosedEngineException e -> closed(peerName);
      case SslHandshakeTimeoutException e ->
          passing("no answer of " + peerName + " to the handshake", "check what listens there");
      case CertificateException e when isAboutTheName(e) ->
          permanent(
              "the certificate of " + peerName + " is not for that name",
              "say which of its alternative names to expect with --tls-name");
      case CertificateException e when e.getCause() == null -> untrusted(peerName);
      case CertPathValidatorException e when e.getCause() == null -> untrusted(peerName);
      case CertPathBuilderException e when e.getCause() == null -> untrusted(peerName);
      default -> null;
    };
  }

  /** The JDK has no type for it: "No subject alternative …" and "No name matching …". */
  private static boolean isAboutTheName(CertificateException e) {
    String message = String.valueOf(e.getMessage());
    return message.startsWith("No subject alternative") || message.startsWith("No name matching");
  }

  private static TlsFailure closed(String peerName) {
    return passing(
        peerName + " closed the connection during the handshake",
        "if the agent there runs without TLS, give it certificates with --tls-dir");
  }

  private static TlsFailure expired(String peerName) {
    return permanent(
        "the certificate of " + peerName + " has expired", "give that agent a new one");
  }

  private static TlsFailure untrusted(String peerName) {
    return permanent(
        "the certificate of " + peerName + " is of an authority that is not trusted here",
        "have both agents' certificates signed by the authorities in their "
            + TlsMaterial.AUTHORITIES);
  }

  /** What the other side's alert says, as BoringSSL names it in its messages. */
  private static TlsFailure alert(String message, String peerName) {
    if (message.contains("ALERT_CERTIFICATE_EXPIRED")) {
      return permanent(
          "our certificate has expired, says " + peerName, "put a new one into --tls-dir");
    }
    // The last one is what Netty's verifier makes of an authority that is not known.
    if (message.contains("ALERT_UNKNOWN_CA")
        || message.contains("ALERT_CERTIFICATE_UNKNOWN")
        || message.contains("ALERT_BAD_CERTIFICATE")
        || message.contains("ALERT_INTERNAL_ERROR")) {
      return permanent(
          peerName + " does not take our certificate",
          "its log says why: our authority must be in its %s, and our name the one it expects"
              .formatted(TlsMaterial.AUTHORITIES));
    }
    if (message.contains("PROTOCOL_VERSION") || message.contains("UNSUPPORTED_PROTOCOL")) {
      return permanent(peerName + " does not speak TLS 1.3", "use an agent on both sides");
    }
    if (message.contains("CERTIFICATE_REQUIRED")
        || message.contains("PEER_DID_NOT_RETURN_A_CERTIFICATE")) {
      return permanent("no certificate of " + peerName, "use an agent on both sides");
    }
    return permanent("with " + peerName + ": " + message, "check the certificates of both sides");
  }

  private static TlsFailure permanent(String reason, String remedy) {
    return new TlsFailure(reason, remedy, true);
  }

  private static TlsFailure passing(String reason, String remedy) {
    return new TlsFailure(reason, remedy, false);
  }

  /** Whether a handler's report is of TLS. */
  static boolean isOfTls(Throwable thrown) {
    return thrown instanceof SSLException || thrown.getCause() instanceof SSLException;
  }
}
