package dev.postcopy.dest.cli;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.ListCommand;
import dev.postcopy.cli.Refusal;
import dev.postcopy.cli.ReportCommand;
import dev.postcopy.cli.StatusCommand;
import dev.postcopy.linux.HostRefusal;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** The destination agent's entry point. */
@Command(
    name = "dest-agent",
    description = "Takes a running QEMU guest in from a source agent on another host.",
    mixinStandardHelpOptions = true,
    version = "postcopy 0.1.0",
    subcommands = {
      ReceiveCommand.class,
      PreflightCommand.class,
      ResumeCommand.class,
      ServeCommand.class,
      StatusCommand.class,
      ListCommand.class,
      ReportCommand.class,
      WarmUpCommand.class
    })
public final class DestAgent {

  private DestAgent() {}

  /** Refusals of the layer below, which has a type of its own for them. */
  static @Nullable Refusal asRefusal(RuntimeException thrown) {
    return thrown instanceof HostRefusal host ? new Refusal(host.reason(), host.remedy()) : null;
  }

  public static void main(String[] arguments) {
    System.exit(commandLine().execute(arguments));
  }

  static CommandLine commandLine() {
    return CommandRunner.commandLine(new DestAgent());
  }
}
