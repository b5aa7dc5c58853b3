package dev.postcopy.cli;

import dev.postcopy.control.ControlClient;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import tools.jackson.databind.JsonNode;

/** {@code list}: every migration that the agent of this host knows of. */
@Command(
    name = "list",
    description = "Lists the migrations under way, and how the last one of each VM ended.",
    mixinStandardHelpOptions = true)
public final class ListCommand implements Callable<Integer> {

  @Mixin private DaemonSocket daemon = new DaemonSocket();
  @Mixin private JsonOption output = new JsonOption();

  @Override
  public Integer call() {
    return Told.exitCode(this::show);
  }

  private int show() {
    try (ControlClient client = daemon.ask(DaemonSocket.request("list"))) {
      JsonNode answer = client.only();
      if (output.json()) {
        System.out.println(answer);
      } else {
        for (JsonNode status : answer.path("migrations")) {
          System.out.println(LiveView.line(status));
        }
      }
      return ExitCode.COMPLETED.code();
    }
  }
}
