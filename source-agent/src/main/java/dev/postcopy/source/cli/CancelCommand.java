package dev.postcopy.source.cli;

import dev.postcopy.control.ControlSocket;
import dev.postcopy.source.session.Commands;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** {@code source-agent cancel}: the guest stays here, where that is possible still. */
@Command(
    name = "cancel",
    description = {
      "Ends a migration that is under way, with the guest running here as before. Refused once the",
      "guest belongs to the destination."
    },
    mixinStandardHelpOptions = true)
final class CancelCommand implements Callable<Integer> {

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
    return Answer.exitCode(() -> ControlSocket.say(stateFolder, qmp, Commands.CANCEL));
  }
}
