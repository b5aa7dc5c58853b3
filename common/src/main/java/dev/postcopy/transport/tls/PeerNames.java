package dev.postcopy.transport.tls;

import java.security.cert.Certificate;
import java.security.cert.CertificateParsingException;
import java.security.cert.X509Certificate;
import java.util.Collection;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import javax.naming.InvalidNameException;
import javax.naming.ldap.LdapName;
import javax.naming.ldap.Rdn;
import javax.net.ssl.SSLPeerUnverifiedException;
import javax.net.ssl.SSLSession;

/** The names that a verified certificate gives its owner. */
public final class PeerNames {

  private static final int TYPE_DNS = 2;
  private static final int TYPE_URI = 6;
  private static final int TYPE_IP = 7;

  private PeerNames() {}

  /** Of the other side of a session whose handshake is over. */
  public static Set<String> of(SSLSession session) {
    return certificate(session).map(PeerNames::of).orElse(Set.of());
  }

  /** The certificate of the other side, likewise. */
  public static Optional<X509Certificate> certificate(SSLSession session) {
    try {
      Certificate[] chain = session.getPeerCertificates();
      return chain[0] instanceof X509Certificate own ? Optional.of(own) : Optional.empty();
    } catch (SSLPeerUnverifiedException e) {
      return Optional.empty();
    }
  }

  /** Common names, and alternative names that are host names, addresses or URIs (RFC 5280). */
  static Set<String> of(X509Certificate certificate) {
    Set<String> names = new TreeSet<>();
    try {
      for (Rdn part : new LdapName(certificate.getSubjectX500Principal().getName()).getRdns()) {
        if (part.getType().equalsIgnoreCase("CN")) {
          names.add(String.valueOf(part.getValue()));
        }
      }
      Collection<List<?>> alternatives = certificate.getSubjectAlternativeNames();
      if (alternatives != null) {
        for (List<?> alternative : alternatives) {
          switch ((Integer) alternative.getFirst()) {
            case TYPE_DNS, TYPE_URI, TYPE_IP -> names.add(String.valueOf(alternative.get(1)));
            default -> {}
          }
        }
      }
    } catch (InvalidNameException | CertificateParsingException e) {
      // A name that cannot be read is none, and none is allowed nothing.
      return Set.of();
    }
    return names;
  }
}
