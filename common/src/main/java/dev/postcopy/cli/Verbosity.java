package dev.postcopy.cli;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import org.slf4j.LoggerFactory;
import picocli.CommandLine.Option;

/** The option {@code -v}: how much of the log goes to standard error. */
public final class Verbosity {

  @Option(
      names = {"-v", "--verbose"},
      description = "Log the steps to standard error; twice for the details.")
  private boolean[] verbose = {};

  /** Sets the level of the agents' own loggers; warnings are always shown. */
  public void apply() {
    apply(verbose.length);
  }

  /** The same for an agent that serves, whose log is kept: the steps are always in it. */
  public void applyToDaemon() {
    apply(verbose.length + 1);
  }

  private static void apply(int steps) {
    Level level =
        switch (steps) {
          case 0 -> Level.WARN;
          case 1 -> Level.INFO;
          default -> Level.DEBUG;
        };
    ((Logger) LoggerFactory.getLogger("dev.postcopy")).setLevel(level);
  }
}
