package dev.postcopy.cli;

import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** The option {@code --config}, which {@link ConfigFile} looks at. */
public final class ConfigOption {

  static final String NAME = "--config";

  // Read through Picocli's model, because defaults are asked for before the command runs.
  @SuppressWarnings("UnusedVariable")
  @Option(
      names = NAME,
      paramLabel = "FILE",
      description = {
        "Lines 'OPTION = VALUE', with the long names of these options without their dashes",
        "(default: /etc/postcopy/${ROOT-COMMAND-NAME}.conf, where it is there). What is given here",
        "wins."
      })
  private @Nullable Path file;
}
