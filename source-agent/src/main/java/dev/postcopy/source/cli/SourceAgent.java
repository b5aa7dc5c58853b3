package dev.postcopy.source.cli;

import dev.postcopy.cli.CommandRunner;
import picocli.CommandLine.Command;

/** The source agent's entry point. */
@Command(
    name = "source-agent",
    description = "Gives a running QEMU guest to a destination agent on another host.",
    mixinStandardHelpOptions = true,
    version = "postcopy 0.1.0",
    subcommands = {MigrateCommand.class, WarmUpCommand.class})
public final class SourceAgent {

  private SourceAgent() {}

  public static void main(String[] arguments) {
    System.exit(CommandRunner.commandLine(new SourceAgent()).execute(arguments));
  }
}
