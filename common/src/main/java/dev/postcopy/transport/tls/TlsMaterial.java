package dev.postcopy.transport.tls;

import dev.postcopy.cli.Refusal;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.cert.CertificateException;
import java.security.cert.CertificateExpiredException;
import java.security.cert.CertificateFactory;
import java.security.cert.CertificateNotYetValidException;
import java.security.cert.X509Certificate;
import java.security.spec.InvalidKeySpecException;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * An agent's own certificate and key, and the authorities that it trusts: what is in {@link
 * #CERTIFICATE}, {@link #KEY} and {@link #AUTHORITIES} of one folder, in PEM form (RFC 7468).
 *
 * @param chain the own certificate first, then those between it and the authority
 * @param key the own certificate's
 * @param authorities whose certificates are believed
 */
record TlsMaterial(List<X509Certificate> chain, PrivateKey key, List<X509Certificate> authorities) {

  static final String CERTIFICATE = "cert.pem";
  static final String KEY = "key.pem";
  static final String AUTHORITIES = "ca.pem";

  private static final Pattern PEM_KEY =
      Pattern.compile(
          "-----BEGIN ((?:[A-Z]+ )*)PRIVATE KEY-----\\s+([A-Za-z0-9+/=\\s]+)-----END \\1PRIVATE KEY-----");

  /** The algorithm's name in a key is an object identifier: trying is simpler than reading it. */
  private static final List<String> KEY_ALGORITHMS = List.of("EC", "RSA", "EdDSA");

  static List<Path> filesIn(Path folder) {
    return List.of(folder.resolve(CERTIFICATE), folder.resolve(KEY), folder.resolve(AUTHORITIES));
  }

  /**
   * @throws Refusal where a file is not there, not readable, or not what it should be
   */
  static TlsMaterial readFrom(Path folder) {
    Path certificateFile = folder.resolve(CERTIFICATE);
    Path keyFile = folder.resolve(KEY);
    List<X509Certificate> chain = certificates(certificateFile);
    PrivateKey key = privateKey(keyFile);
    X509Certificate own = chain.getFirst();
    if (!belongTogether(key, own.getPublicKey())) {
      throw new Refusal(
          "%s is not the key of %s".formatted(keyFile, certificateFile),
          "put a certificate and its key there");
    }
    requireValidNow(certificateFile, own);
    return new TlsMaterial(chain, key, certificates(folder.resolve(AUTHORITIES)));
  }

  private static byte[] read(Path file) {
    try {
      return Files.readAllBytes(file);
    } catch (NoSuchFileException e) {
      throw new Refusal(
          file + " is not there",
          "put %s, %s and %s into that folder".formatted(CERTIFICATE, KEY, AUTHORITIES));
    } catch (IOException e) {
      throw new Refusal(
          "%s cannot be read: %s".formatted(file, e.getMessage()),
          "give the agent's user the right to");
    }
  }

  private static List<X509Certificate> certificates(Path file) {
    List<X509Certificate> found;
    try {
      found =
          CertificateFactory.getInstance("X.509")
              .generateCertificates(new ByteArrayInputStream(read(file)))
              .stream()
              .map(X509Certificate.class::cast)
              .toList();
    } catch (CertificateException e) {
      found = List.of();
    }
    if (found.isEmpty()) {
      throw new Refusal(file + " has no certificate in it", "write it in PEM form");
    }
    return found;
  }

  private static PrivateKey privateKey(Path file) {
    Matcher pem = PEM_KEY.matcher(new String(read(file), StandardCharsets.US_ASCII));
    if (!pem.find()) {
      throw new Refusal(file + " has no private key in it", "write it in PEM form");
    }
    if (!pem.group(1).isEmpty()) {
      throw new Refusal(
          "the key in %s is in the form '%sPRIVATE KEY'".formatted(file, pem.group(1)),
          "convert it: openssl pkcs8 -topk8 -nocrypt -in KEY -out " + KEY);
    }
    byte[] encoded = Base64.getMimeDecoder().decode(pem.group(2));
    for (String algorithm : KEY_ALGORITHMS) {
      try {
        return KeyFactory.getInstance(algorithm).generatePrivate(new PKCS8EncodedKeySpec(encoded));
      } catch (InvalidKeySpecException e) {
        // Of another algorithm.
      } catch (GeneralSecurityException e) {
        throw new IllegalStateException("a JDK without " + algorithm, e);
      }
    }
    throw new Refusal("the key in " + file + " cannot be read", "use an EC or an RSA key");
  }

  /** A file of the pair may be new and the other one old: what one signs the other must verify. */
  private static boolean belongTogether(PrivateKey key, PublicKey publicKey) {
    String algorithm =
        switch (key.getAlgorithm()) {
          case "EC" -> "SHA256withECDSA";
          case "RSA" -> "SHA256withRSA";
          default -> key.getAlgorithm();
        };
    byte[] text = {'p', 'o', 's', 't', 'c', 'o', 'p', 'y'};
    try {
      Signature signature = Signature.getInstance(algorithm);
      signature.initSign(key);
      signature.update(text);
      byte[] signed = signature.sign();
      signature.initVerify(publicKey);
      signature.update(text);
      return signature.verify(signed);
    } catch (GeneralSecurityException e) {
      return false;
    }
  }

  private static void requireValidNow(Path file, X509Certificate certificate) {
    try {
      certificate.checkValidity();
    } catch (CertificateExpiredException e) {
      throw new Refusal(
          "the certificate in %s ended on %s"
              .formatted(file, certificate.getNotAfter().toInstant()),
          "put a new one there");
    } catch (CertificateNotYetValidException e) {
      throw new Refusal(
          "the certificate in %s begins on %s"
              .formatted(file, certificate.getNotBefore().toInstant()),
          "check this host's clock, or put another one there");
    }
  }
}
