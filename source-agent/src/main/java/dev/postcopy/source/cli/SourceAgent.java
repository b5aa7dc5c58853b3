package dev.postcopy.source.cli;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.ListCommand;
import dev.postcopy.cli.Refusal;
import dev.postcopy.cli.ReportCommand;
import dev.postcopy.cli.StatusCommand;
import dev.postcopy.linux.HostRefusal;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** The source agent's entry point. */
@Command(
    name = "source-agent",
    description = "Gives a running QEMU guest to a destination agent on another host.",
    mixinStandardHelpOptions = true,
    version = "postcopy 0.1.0",
    subcommands = {
      MigrateCommand.class,
      PreflightCommand.class,
      ResumeCommand.class,
      CancelCommand.class,
      SetCommand.class,
      ServeCommand.class,
      StatusCommand.class,
      ListCommand.class,
      ReportCommand.class,
      WarmUpCommand.class
    })
public final class SourceAgent {

  private SourceAgent() {}

  /** Refusals of the layer below, which has a type of its own for them. */
  static @Nullable Refusal asRefusal(RuntimeException thrown) {
    return thrown instanceof HostRefusal host ? new Refusal(host.reason(), host.remedy()) : null;
  }

  public static void main(String[] arguments) {
    System.exit(commandLine().execute(arguments));
  }

  static CommandLine commandLine() {
    return CommandRunner.commandLine(new SourceAgent());
  }
}
