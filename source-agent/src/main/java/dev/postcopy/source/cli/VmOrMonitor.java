package dev.postcopy.source.cli;

import dev.postcopy.cli.DaemonSocket;
import dev.postcopy.cli.ExitCode;
import dev.postcopy.cli.Refusal;
import dev.postcopy.cli.Told;
import dev.postcopy.control.ControlClient;
import dev.postcopy.control.ControlSocket;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.node.ObjectNode;

/** Whom a command is for: a migration of the agent that serves, or of one that runs by itself. */
final class VmOrMonitor {

  @ArgGroup(exclusive = true, multiplicity = "1")
  private Choice choice = new Choice();

  private static final class Choice {
    @Parameters(
        paramLabel = "VM",
        description = "A migration of the agent that serves: the VM's name, or its socket's path.")
    private @Nullable String vm;

    @Option(
        names = "--qmp",
        paramLabel = "SOCKET",
        description = "A migration with an agent of its own: the QMP socket of the QEMU.")
    private @Nullable Path qmp;
  }

  @Mixin private DaemonSocket daemon = new DaemonSocket();

  /** Says {@code request} to the migration. */
  int tell(ObjectNode request) {
    return Told.exitCode(
        () -> {
          try (ControlClient client = ask(request)) {
            client.only();
            return ExitCode.COMPLETED.code();
          }
        });
  }

  private ControlClient ask(ObjectNode request) {
    if (choice.vm != null) {
      return daemon.ask(request.setAll(DaemonSocket.request(command(request), choice.vm)));
    }
    Path qmp = choice.qmp == null ? Path.of("") : choice.qmp;
    return ControlClient.ask(
        ControlSocket.ofMonitor(daemon.stateFolder(), qmp),
        request,
        new Refusal(
            "no migration of %s is under way in %s".formatted(qmp, daemon.stateFolder()),
            "name the monitor and the --state-dir that the agent was given"));
  }

  private static String command(ObjectNode request) {
    return request.path("command").asString();
  }
}
