package dev.postcopy.cli;

import dev.postcopy.logging.JournalAppender;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.function.Function;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Runs an agent that serves until somebody ends it (SIGTERM, SIGINT). */
public final class DaemonRunner {

  /** For a service manager: another try may go better, and needs nobody. */
  static final int TRY_AGAIN = 1;

  private static final Logger log = LoggerFactory.getLogger(DaemonRunner.class);

  /** A service manager tries again at once, and each start takes processor time from guests. */
  private static final Duration PAUSE = Duration.ofSeconds(2);

  private final Function<RuntimeException, @Nullable Refusal> asRefusal;
  private final boolean toJournal;
  private final Duration pause;

  /**
   * @param asRefusal as that of {@link CommandRunner}
   */
  public DaemonRunner(Function<RuntimeException, @Nullable Refusal> asRefusal) {
    this(asRefusal, JournalAppender.isStandardErrorTheJournals(System.getenv()), PAUSE);
  }

  DaemonRunner(
      Function<RuntimeException, @Nullable Refusal> asRefusal, boolean toJournal, Duration pause) {
    this.asRefusal = asRefusal;
    this.toJournal = toJournal;
    this.pause = pause;
  }

  /**
   * Does not return but where the agent cannot serve.
   *
   * @param start begins to serve; returns what is to be done before the process may end
   * @return 2 where an operator has to do something first, else 1
   */
  public int run(Supplier<Runnable> start) {
    Runnable stop;
    try {
      stop = start.get();
    } catch (RuntimeException e) {
      Refusal refusal = e instanceof Refusal own ? own : asRefusal.apply(e);
      if (refusal == null) {
        log.error("unexpected", e);
        refusal = Refusal.passing("unexpected " + e, "report what the log says");
      }
      System.err.println(ErrorLine.of("refused: " + refusal.getMessage(), toJournal));
      return refusal.mayPass() ? tryAgain() : ExitCode.REFUSED.code();
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

  private int tryAgain() {
    try {
      Thread.sleep(pause);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    return TRY_AGAIN;
  }
}
