package dev.postcopy.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.net.Inet6Address;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine.TypeConversionException;

class HostAndPortTest {

  @ParameterizedTest
  @CsvSource({
    "host:1, host, 1",
    "host.example.org:65535, host.example.org, 65535",
    "127.0.0.1:0, 127.0.0.1, 0",
    "[::1]:4444, ::1, 4444",
    "[fe80::1%eth0]:4444, fe80::1%eth0, 4444",
    "[2001:db8::7]:22, 2001:db8::7, 22"
  })
  void readsHostAndPort(String text, String host, int port) {
    assertThat(HostAndPort.parse(text)).isEqualTo(new HostAndPort(host, port));
  }

  @ParameterizedTest
  @ValueSource(strings = {"host:1", "127.0.0.1:0", "[::1]:4444", "[2001:db8::7]:22"})
  void writesWhatItReads(String text) {
    assertThat(HostAndPort.parse(text)).hasToString(text);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        ":",
        "host",
        ":80",
        "host:",
        "[]:80",
        "4444",
        "host:port",
        "host:65536",
        "host:-1",
        "host:99999999999",
        "host: 80",
        "host:8 0",
        "host:0x50",
        "host:1.5"
      })
  void refusesWhatIsNotHostAndPort(String text) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> HostAndPort.parse(text))
        .withMessage("expected HOST:PORT, not '" + text + "'");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"::1:80", "2001:db8::7:22", "a:b:80", "[::1", "[::1]", "::1]:80", "[::1:80"})
  void asksForBracketsAroundAnIpv6Address(String text) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> HostAndPort.parse(text))
        .withMessage("an IPv6 address is written [ADDRESS]:PORT");
  }

  @Test
  void resolvesLiteralsWithoutAskingANameServer() {
    assertThat(HostAndPort.parse("127.0.0.1:80").resolve().isUnresolved()).isFalse();
    assertThat(HostAndPort.parse("[::1]:80").resolve().getAddress())
        .isInstanceOf(Inet6Address.class);
  }

  @Test
  void refusesANameWithoutAnAddress() {
    // .invalid never resolves (RFC 6761).
    assertThatExceptionOfType(Refusal.class)
        .isThrownBy(() -> new HostAndPort("nowhere.invalid", 80).resolve())
        .withMessage("host name nowhere.invalid does not resolve; check the name or give an IP");
  }

  @Test
  void tellsPicocliWhatIsWrong() {
    assertThatExceptionOfType(TypeConversionException.class)
        .isThrownBy(() -> new HostAndPort.Converter().convert("host"))
        .withMessage("expected HOST:PORT, not 'host'");
  }
}
