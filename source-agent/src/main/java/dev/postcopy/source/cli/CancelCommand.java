package dev.postcopy.source.cli;

import dev.postcopy.cli.DaemonSocket;
import dev.postcopy.source.session.Commands;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

/** {@code source-agent cancel}: the guest stays here, where that is possible still. */
@Command(
    name = "cancel",
    description = {
      "Ends a migration that is under way; the guest stays here.",
      "It runs, or is paused, as before. Refused once the guest belongs to the destination."
    },
    mixinStandardHelpOptions = true)
final class CancelCommand implements Callable<Integer> {

  @Parameters(
      index = "0",
      arity = "0..1",
      paramLabel = "VM",
      description = "The VM's name, or the path of its QMP socket.")
  private @Nullable String vm;

  @Mixin private Recipient recipient = new Recipient();
  @Mixin private DaemonSocket daemon = new DaemonSocket();

  @Override
  public Integer call() {
    return recipient.tell(vm, daemon, DaemonSocket.request(Commands.CANCEL));
  }
}
