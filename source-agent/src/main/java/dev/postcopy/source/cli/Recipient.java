package dev.postcopy.source.cli;

import dev.postcopy.cli.DaemonSocket;
import dev.postcopy.cli.JsonOption;
import dev.postcopy.cli.Refusal;
import dev.postcopy.cli.Told;
import dev.postcopy.control.ControlClient;
import dev.postcopy.control.ControlSocket;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import picocli.CommandLine.Spec.Target;
import tools.jackson.databind.node.ObjectNode;

/** Whom a command is for: a migration of the agent that serves, or of one that runs by itself. */
final class Recipient {

  @Option(
      names = "--qmp",
      paramLabel = "SOCKET",
      description = "In place of VM, for a migration with an agent of its own: QEMU's QMP socket.")
  private @Nullable Path qmp;

  @Mixin private JsonOption output = new JsonOption();

  @Spec(Target.MIXEE)
  private CommandSpec spec = CommandSpec.create();

  /**
   * Says {@code request} to the migration.
   *
   * @param vm of the agent that serves; null where {@code --qmp} was given
   */
  int tell(@Nullable String vm, DaemonSocket daemon, ObjectNode request) {
    if ((vm == null) == (qmp == null)) {
      throw new ParameterException(
          spec.commandLine(), "name either the VM, or with --qmp the socket of its QEMU");
    }
    return Told.exitCode(
        output.json(),
        () -> {
          try (ControlClient client = ask(vm, daemon, request)) {
            client.only();
          }
        });
  }

  private ControlClient ask(@Nullable String vm, DaemonSocket daemon, ObjectNode request) {
    if (vm != null) {
      return daemon.ask(DaemonSocket.about(vm, request));
    }
    Path monitor = qmp == null ? Path.of("") : qmp;
    return ControlClient.ask(
        ControlSocket.ofMonitor(daemon.stateFolder(), monitor),
        request,
        () ->
            new Refusal(
                "no migration of %s is under way in %s".formatted(monitor, daemon.stateFolder()),
                "name the monitor and the --state-dir that the agent was given"));
  }
}
