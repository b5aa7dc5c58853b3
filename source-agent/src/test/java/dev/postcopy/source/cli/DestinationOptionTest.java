package dev.postcopy.source.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.postcopy.cli.HostAndPort;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.ParameterException;

class DestinationOptionTest {

  @Command
  private static final class AnyCommand {
    @Mixin private DestinationOption to = new DestinationOption();
  }

  @ParameterizedTest
  @CsvSource({
    "host2, host2, 7000",
    "host2:7001, host2, 7001",
    "10.0.0.2, 10.0.0.2, 7000",
    "[::1], ::1, 7000",
    "[::1]:7001, ::1, 7001"
  })
  void takesTheUsualPortWhereNoneIsSaid(String text, String host, int port) {
    assertThat(parse("--to", text).address()).isEqualTo(new HostAndPort(host, port));
  }

  @Test
  void doesNotTakeTheEndOfAnAddressForAPort() {
    assertThatExceptionOfType(ParameterException.class)
        .isThrownBy(() -> parse("--to", "fe80::1:2").address())
        .withMessageContaining("[ADDRESS]:PORT");
  }

  @Test
  void saysThatItIsMissing() {
    assertThat(parse().isGiven()).isFalse();
    assertThatExceptionOfType(ParameterException.class)
        .isThrownBy(() -> parse().address())
        .withMessageContaining("--to");
  }

  private static DestinationOption parse(String... arguments) {
    AnyCommand command = new AnyCommand();
    new CommandLine(command).parseArgs(arguments);
    return command.to;
  }
}
