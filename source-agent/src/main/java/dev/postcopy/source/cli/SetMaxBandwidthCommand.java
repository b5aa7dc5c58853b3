package dev.postcopy.source.cli;

import dev.postcopy.cli.Bandwidth;
import dev.postcopy.control.ControlSocket;
import dev.postcopy.source.session.Commands;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code source-agent set-max-bandwidth}: for a migration that is under way. */
@Command(
    name = "set-max-bandwidth",
    description = "Changes what pages that nobody waits for may use of the link.",
    mixinStandardHelpOptions = true)
final class SetMaxBandwidthCommand implements Callable<Integer> {

  @Parameters(
      paramLabel = "RATE",
      converter = Bandwidth.Converter.class,
      description = "Bytes a second, like 100M, or unlimited.")
  private Bandwidth rate = Bandwidth.UNLIMITED;

  @Option(
      names = "--qmp",
      required = true,
      paramLabel = "SOCKET",
      description = "The QMP unix socket of the QEMU whose guest moves.")
  private Path qmp = Path.of("");

  @Option(
      names = "--state-dir",
      paramLabel = "FOLDER",
      defaultValue = "/run/postcopy",
      description = "That of the agent that is at work (default: ${DEFAULT-VALUE}).")
  private Path stateFolder = Path.of("");

  @Override
  public Integer call() {
    return Answer.exitCode(
        () -> ControlSocket.say(stateFolder, qmp, Commands.maxBandwidth(rate.bytesPerSecond())));
  }
}
