package dev.postcopy.source.cli;

import dev.postcopy.cli.ExitCode;
import dev.postcopy.qmp.BlankMonitor;
import dev.postcopy.source.session.WarmUp;
import java.io.IOException;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;

/** The run from which scripts/build makes the JVM's ahead-of-time cache. */
@Command(
    name = "warm-up",
    hidden = true,
    description = "Runs the way of a page on scratch memory, and a migration up to its refusal.")
final class WarmUpCommand implements Callable<Integer> {

  private static final int ROUNDS = 10;

  @Override
  public Integer call() throws IOException {
    WarmUp.run(ROUNDS);
    try (BlankMonitor monitor = BlankMonitor.open()) {
      int exitCode =
          SourceAgent.commandLine()
              .execute(
                  "migrate",
                  "--json",
                  "--qmp=" + monitor.socket(),
                  "--to=127.0.0.1:1",
                  "--state-dir=" + monitor.folder());
      return exitCode == ExitCode.REFUSED.code() ? 0 : 1;
    }
  }
}
