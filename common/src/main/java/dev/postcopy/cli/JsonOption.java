package dev.postcopy.cli;

import picocli.CommandLine.Option;

/** The option {@code --json}: for programs. */
public final class JsonOption {

  @Option(
      names = "--json",
      description =
          "Print what there is to tell as one JSON object, the last line on standard output.")
  private boolean json;

  public boolean json() {
    return json;
  }
}
