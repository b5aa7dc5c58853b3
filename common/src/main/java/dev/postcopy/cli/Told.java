package dev.postcopy.cli;

import java.util.function.IntSupplier;

/** Runs a command that talks to an agent at work: what it refuses is one line and an exit code. */
public final class Told {

  private Told() {}

  /**
   * @param talk returns the exit code
   */
  public static int exitCode(IntSupplier talk) {
    try {
      return talk.getAsInt();
    } catch (Refusal e) {
      System.err.println("refused: " + e.getMessage());
      return ExitCode.REFUSED.code();
    }
  }
}
