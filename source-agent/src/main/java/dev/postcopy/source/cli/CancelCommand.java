package dev.postcopy.source.cli;

import dev.postcopy.cli.DaemonSocket;
import dev.postcopy.source.session.Commands;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** {@code source-agent cancel}: the guest stays here, where that is possible still. */
@Command(
    name = "cancel",
    description = {
      "Ends a migration that is under way, with the guest running here as before. Refused once the",
      "guest belongs to the destination."
    },
    mixinStandardHelpOptions = true)
final class CancelCommand implements Callable<Integer> {

  @Mixin private VmOrMonitor migration = new VmOrMonitor();

  @Override
  public Integer call() {
    return migration.tell(DaemonSocket.request(Commands.CANCEL));
  }
}
