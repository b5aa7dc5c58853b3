package dev.postcopy.cli;

import java.nio.file.Path;
import java.time.Duration;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import picocli.CommandLine.Spec.Target;

/** What every command takes that has to do with a migration, at either side. */
public final class AgentOptions {

  @Option(
      names = "--state-dir",
      paramLabel = "FOLDER",
      defaultValue = "/run/postcopy",
      description =
          "Where journals and the agent's control socket are (default: ${DEFAULT-VALUE}).")
  private Path stateFolder = Path.of("");

  @Option(
      names = "--peer-timeout",
      paramLabel = "SECONDS",
      defaultValue = "5",
      description = {
        "How long the other side may give no sign of life before the connection is given up",
        "(default: ${DEFAULT-VALUE}). From the hand-over on a new one follows."
      })
  private int peerTimeoutSeconds;

  @Spec(Target.MIXEE)
  private CommandSpec spec = CommandSpec.create();

  public Path stateFolder() {
    return stateFolder;
  }

  /** How long the peer may be silent. */
  public Duration peerPatience() {
    if (peerTimeoutSeconds <= 0) {
      throw new ParameterException(
          spec.commandLine(), "--peer-timeout takes seconds, not " + peerTimeoutSeconds);
    }
    return Duration.ofSeconds(peerTimeoutSeconds);
  }
}
