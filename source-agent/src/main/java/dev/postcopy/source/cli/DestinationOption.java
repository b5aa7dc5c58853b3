package dev.postcopy.source.cli;

import dev.postcopy.cli.HostAndPort;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import picocli.CommandLine.Spec.Target;

/** The option {@code --to}. */
final class DestinationOption {

  /** Where destination agents that serve listen, by custom. */
  private static final int PORT = 7000;

  @Option(
      names = "--to",
      paramLabel = "HOST:PORT",
      description = {
        "Where the destination agent listens. The port may be left out: " + PORT + "."
      })
  private @Nullable String to;

  @Spec(Target.MIXEE)
  private CommandSpec spec = CommandSpec.create();

  boolean isGiven() {
    return to != null;
  }

  HostAndPort address() {
    String address = given();
    boolean literal = address.startsWith("[");
    boolean withoutPort = literal ? address.endsWith("]") : address.indexOf(':') < 0;
    return parse(withoutPort ? address + ":" + PORT : address);
  }

  private String given() {
    if (to == null) {
      throw new ParameterException(spec.commandLine(), "Missing required option: '--to=HOST:PORT'");
    }
    return to;
  }

  private HostAndPort parse(String address) {
    try {
      return HostAndPort.parse(address);
    } catch (IllegalArgumentException e) {
      throw new ParameterException(
          spec.commandLine(), "Invalid value for option '--to': " + e.getMessage());
    }
  }
}
