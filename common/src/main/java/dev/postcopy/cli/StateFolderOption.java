package dev.postcopy.cli;

import java.nio.file.Path;
import picocli.CommandLine.Option;

/** The option {@code --state-dir}: what an agent leaves for the one after it. */
public final class StateFolderOption {

  @Option(
      names = "--state-dir",
      paramLabel = "FOLDER",
      defaultValue = "/run/postcopy",
      description =
          "Where journals and the agent's control socket are (default: ${DEFAULT-VALUE}).")
  private Path stateFolder = Path.of("");

  public Path folder() {
    return stateFolder;
  }
}
