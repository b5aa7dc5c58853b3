package dev.postcopy.dest.cli;

import dev.postcopy.cli.CommandRunner;
import picocli.CommandLine.Command;

/** The destination agent's entry point. */
@Command(
    name = "dest-agent",
    description = "Takes a running QEMU guest in from a source agent on another host.",
    mixinStandardHelpOptions = true,
    version = "postcopy 0.1.0",
    subcommands = {ReceiveCommand.class, WarmUpCommand.class})
public final class DestAgent {

  private DestAgent() {}

  public static void main(String[] arguments) {
    System.exit(CommandRunner.commandLine(new DestAgent()).execute(arguments));
  }
}
