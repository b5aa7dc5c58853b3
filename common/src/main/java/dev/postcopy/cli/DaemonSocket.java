package dev.postcopy.cli;

import dev.postcopy.control.ControlClient;
import dev.postcopy.control.ControlSocket;
import java.nio.file.Path;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;
import picocli.CommandLine.Spec.Target;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** How a command finds the agent of its own kind that serves on this host. */
public final class DaemonSocket {

  @Option(
      names = "--state-dir",
      paramLabel = "FOLDER",
      defaultValue = "/run/postcopy",
      description = "That of the agent that is at work (default: ${DEFAULT-VALUE}).")
  private Path stateFolder = Path.of("");

  @Spec(Target.MIXEE)
  private CommandSpec spec = CommandSpec.create();

  public Path stateFolder() {
    return stateFolder;
  }

  /**
   * Gives the agent a command.
   *
   * @throws Refusal where none serves
   */
  public ControlClient ask(ObjectNode request) {
    return ask(spec, stateFolder, request);
  }

  /** The same for a command that has a state folder of its own. */
  public static ControlClient ask(CommandSpec spec, Path stateFolder, ObjectNode request) {
    String agent = spec.root().name();
    Path socket = ControlSocket.ofDaemon(stateFolder, agent);
    return ControlClient.ask(
        socket,
        request,
        () ->
            new Refusal(
                "no %s serves at %s".formatted(agent, socket),
                "start it with '%s serve', or name its --state-dir".formatted(agent)));
  }

  /** A command, to which its arguments are added. */
  public static ObjectNode request(String command) {
    return JsonNodeFactory.instance.objectNode().put("command", command);
  }

  /** The same about a virtual machine. */
  public static ObjectNode request(String command, String vm) {
    return about(vm, request(command));
  }

  /**
   * @param vm a name, or a path, which is another one from where the agent stands
   */
  public static ObjectNode about(String vm, ObjectNode request) {
    return request.put(
        "vm", vm.indexOf('/') >= 0 ? Path.of(vm).toAbsolutePath().normalize().toString() : vm);
  }
}
