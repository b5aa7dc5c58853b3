package dev.postcopy.source.cli;

import dev.postcopy.source.session.WarmUp;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;

/** The run from which scripts/build makes the JVM's ahead-of-time cache. */
@Command(
    name = "warm-up",
    hidden = true,
    description = "Runs the way of a page on scratch memory, and ends.")
final class WarmUpCommand implements Callable<Integer> {

  private static final int ROUNDS = 40;

  @Override
  public Integer call() {
    WarmUp.run(ROUNDS);
    return 0;
  }
}
