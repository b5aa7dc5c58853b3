package dev.postcopy.cli;

import dev.postcopy.control.ControlClient;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.JsonNode;

/** {@code status VM}: how far a migration is, or how the last one of a machine ended. */
@Command(
    name = "status",
    description = "Shows how far the migration of a VM is, or how the last one ended.",
    mixinStandardHelpOptions = true)
public final class StatusCommand implements Callable<Integer> {

  @Parameters(paramLabel = "VM", description = "The VM's name, or the path of its QMP socket.")
  private String vm = "";

  @Option(
      names = {"-f", "--follow"},
      description = "Go on showing it until it has ended. Ctrl-C ends the view only.")
  private boolean follow;

  @Mixin private DaemonSocket daemon = new DaemonSocket();
  @Mixin private JsonOption output = new JsonOption();

  @Override
  public Integer call() {
    return Told.exitCode(this::show);
  }

  private int show() {
    try (ControlClient client =
        daemon.ask(DaemonSocket.request(follow ? "follow" : "status", vm))) {
      JsonNode status = follow ? new LiveView(System.err).follow(client::next, "") : client.only();
      if (status == null) {
        throw new Refusal("the agent has ended", "its next start goes on with the migration");
      }
      System.out.println(output.json() ? status.toString() : LiveView.line(status));
      return ExitCode.COMPLETED.code();
    }
  }
}
