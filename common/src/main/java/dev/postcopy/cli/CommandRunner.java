package dev.postcopy.cli;

import dev.postcopy.logging.JournalAppender;
import dev.postcopy.metrics.MigrationReport;
import dev.postcopy.metrics.Outcome;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import picocli.CommandLine;

/**
 * Runs a command to its exit code: one line for an operator on standard error where it did not go
 * well, and the report as the last line on standard output where it was asked for.
 */
public final class CommandRunner {

  private static final Logger log = LoggerFactory.getLogger(CommandRunner.class);

  private final Function<RuntimeException, @Nullable Refusal> asRefusal;

  /**
   * @param asRefusal recognises refusals that other layers express in their own way; null for what
   *     is none
   */
  public CommandRunner(Function<RuntimeException, @Nullable Refusal> asRefusal) {
    this.asRefusal = asRefusal;
  }

  /**
   * Runs {@code migration}; everything that it throws becomes a line and an exit code.
   *
   * @param cancel called when somebody wants the process to end (SIGINT, SIGTERM): the migration
   *     then ends as it must, not as the signal would have it, and its exit code is the process's
   */
  public int run(boolean json, Runnable cancel, Supplier<Outcome> migration) {
    CompletableFuture<Integer> exitCode = new CompletableFuture<>();
    Thread hook =
        new Thread(
            () -> {
              cancel.run();
              Runtime.getRuntime().halt(exitCode.join());
            },
            "shutdown");
    Runtime.getRuntime().addShutdownHook(hook);
    int code = ExitCode.INCOMPLETE_AT_DESTINATION.code();
    try {
      code = runToEnd(json, migration);
    } finally {
      // The hook waits for it, however this ends.
      exitCode.complete(code);
    }
    try {
      Runtime.getRuntime().removeShutdownHook(hook);
    } catch (IllegalStateException e) {
      log.debug("the hook ends the process", e);
    }
    return exitCode.join();
  }

  /** Runs {@code migration} to its outcome: what it throws is one. */
  public Outcome toOutcome(Supplier<Outcome> migration) {
    try {
      return migration.get();
    } catch (RuntimeException e) {
      Refusal refusal = e instanceof Refusal own ? own : asRefusal.apply(e);
      if (refusal == null) {
        log.info("unexpected", e);
        refusal = new Refusal("unexpected " + e, "run with -v and report what it says");
      }
      return new Outcome(
          ExitCode.REFUSED, MigrationReport.without("refused", refusal.getMessage()));
    } catch (Error e) {
      log.error("unexpected", e);
      return new Outcome(
          ExitCode.INCOMPLETE_AT_DESTINATION,
          MigrationReport.without(
              "incomplete",
              "unexpected " + e + "; what was journaled is gone on with by resume, on both sides"));
    }
  }

  private int runToEnd(boolean json, Supplier<Outcome> migration) {
    return tell(toOutcome(migration), json);
  }

  /**
   * Prints how a migration ended.
   *
   * @return the exit code
   */
  public static int tell(Outcome outcome, boolean json) {
    if (outcome.exitCode() != ExitCode.COMPLETED) {
      System.err.println(outcome.report().status() + ": " + outcome.report().reason());
    }
    if (json) {
      System.out.println(outcome.report().toJson());
    }
    return outcome.exitCode().code();
  }

  /** A command line whose usage errors are one line and exit code 2. */
  public static CommandLine commandLine(Object command) {
    return commandLine(command, JournalAppender.isStandardErrorTheJournals(System.getenv()));
  }

  static CommandLine commandLine(Object command, boolean toJournal) {
    return ConfigFile.use(new CommandLine(command))
        .setExitCodeExceptionMapper(thrown -> ExitCode.REFUSED.code())
        .setParameterExceptionHandler(
            (error, arguments) -> {
              error
                  .getCommandLine()
                  .getErr()
                  .println(
                      ErrorLine.of(
                          "wrong usage: " + error.getMessage() + "; see --help", toJournal));
              return ExitCode.REFUSED.code();
            });
  }
}
