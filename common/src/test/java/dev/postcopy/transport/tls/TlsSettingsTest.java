package dev.postcopy.transport.tls;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import java.nio.file.Path;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** When TLS is used, and when doing without it is refused. */
final class TlsSettingsTest {

  private static final HostAndPort LOOPBACK = HostAndPort.parse("127.0.0.1:7000");
  private static final HostAndPort ANYWHERE = HostAndPort.parse("0.0.0.0:7000");
  private static final HostAndPort ELSEWHERE = HostAndPort.parse("192.0.2.1:7000");

  @TempDir
  @SuppressWarnings("NullAway.Init") // set before each test
  private Path temp;

  private Path certificates() {
    return TestAuthority.create(temp.resolve("ca")).issue("host", "DNS:host");
  }

  private TlsSettings withoutFolder(boolean insecure) {
    return new TlsSettings(Optional.empty(), temp.resolve("none"), insecure);
  }

  @Test
  void withoutCertificatesOnlyTheLoopBackAddressIsPlain() {
    TlsSettings settings = withoutFolder(false);

    assertThat(settings.listening(LOOPBACK)).isEmpty();
    assertThat(settings.connecting(LOOPBACK, Optional.empty())).isEmpty();
    assertThatThrownBy(() -> settings.listening(ANYWHERE))
        .isInstanceOf(Refusal.class)
        .hasMessageContainingAll("no certificates", "0.0.0.0:7000", "--tls-dir", "--insecure");
    assertThatThrownBy(() -> settings.connecting(ELSEWHERE, Optional.empty()))
        .isInstanceOf(Refusal.class)
        .hasMessageContainingAll("192.0.2.1:7000", "--tls-dir", "--insecure");
  }

  @Test
  void insecureIsPlainEverywhere() {
    assertThat(withoutFolder(true).listening(ANYWHERE)).isEmpty();
    assertThat(withoutFolder(true).connecting(ELSEWHERE, Optional.empty())).isEmpty();
  }

  @Test
  void insecureIsPlainAlsoWhereCertificatesAreInTheDefaultFolder() {
    assertThat(new TlsSettings(Optional.empty(), certificates(), true).listening(ANYWHERE))
        .isEmpty();
  }

  @Test
  void certificatesInTheDefaultFolderAreUsed() {
    TlsSettings settings = new TlsSettings(Optional.empty(), certificates(), false);

    assertThat(settings.listening(LOOPBACK)).isPresent();
    assertThat(settings.connecting(ELSEWHERE, Optional.empty())).isPresent();
  }

  @Test
  void insecureWithCertificatesIsAContradiction() {
    TlsSettings settings = new TlsSettings(Optional.of(certificates()), temp, true);

    assertThatThrownBy(() -> settings.listening(LOOPBACK))
        .isInstanceOf(Refusal.class)
        .hasMessageContainingAll("--insecure", "--tls-dir");
  }

  @Test
  void aFolderThatWasNamedMustHaveThem() {
    TlsSettings settings = new TlsSettings(Optional.of(temp), certificates(), false);

    assertThatThrownBy(() -> settings.listening(LOOPBACK))
        .isInstanceOf(Refusal.class)
        .hasMessageContainingAll(temp.resolve("cert.pem").toString(), "is not there");
  }
}
