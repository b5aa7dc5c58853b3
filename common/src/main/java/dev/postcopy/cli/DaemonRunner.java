package dev.postcopy.cli;

import java.util.concurrent.CountDownLatch;
import java.util.function.Function;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** Runs an agent that serves until somebody ends it (SIGTERM, SIGINT). */
public final class DaemonRunner {

  private final Function<RuntimeException, @Nullable Refusal> asRefusal;

  /**
   * @param asRefusal as that of {@link CommandRunner}
   */
  public DaemonRunner(Function<RuntimeException, @Nullable Refusal> asRefusal) {
    this.asRefusal = asRefusal;
  }

  /**
   * Does not return but where the agent cannot serve.
   *
   * @param start begins to serve; returns what is to be done before the process may end
   */
  public int run(Supplier<Runnable> start) {
    Runnable stop;
    try {
      stop = start.get();
    } catch (RuntimeException e) {
      Refusal refusal = e instanceof Refusal own ? own : asRefusal.apply(e);
      if (refusal == null) {
        throw e;
      }
      System.err.println("refused: " + refusal.getMessage());
      return ExitCode.REFUSED.code();
    }
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  stop.run();
                  // Threads of migrations that go on at the next start end as in a crash: their
                  // journals are made for that.
                  Runtime.getRuntime().halt(ExitCode.COMPLETED.code());
                },
                "shutdown"));
    try {
      new CountDownLatch(1).await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    return ExitCode.COMPLETED.code();
  }
}
