package dev.postcopy.daemon;

import dev.postcopy.metrics.MigrationProgress;
import dev.postcopy.metrics.MigrationView;
import dev.postcopy.metrics.Outcome;
import io.netty.util.concurrent.EventExecutor;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/** One migration at one side, as whoever runs it sees it. */
public interface Migration {

  /**
   * The whole of it, on the caller's thread; once.
   *
   * @throws RuntimeException a refusal, where nothing was touched
   */
  Outcome run();

  /**
   * Asks for the guest to stay at the source; from any thread. Where that is too late the migration
   * goes on, for as long as the peer can be reached.
   */
  void cancel();

  /** Why {@link #cancel} would not keep the guest at the source, or empty; from any thread. */
  Optional<String> obstacleToCancel();

  /**
   * {@link #cancel}, and what came of it: empty where the guest is at the source for certain, else
   * why it is not. From any thread, and at once.
   */
  default CompletableFuture<Optional<String>> cancelAndTell() {
    Optional<String> obstacle = obstacleToCancel();
    if (obstacle.isEmpty()) {
      cancel();
    }
    return CompletableFuture.completedFuture(obstacle);
  }

  /**
   * Its event loops, none before they have begun; from any thread. Where one does not turn, threads
   * of the guest may wait for ever.
   */
  List<? extends EventExecutor> loops();

  /** How far it is; from any thread. */
  MigrationProgress progress();

  /**
   * What is to be seen of it while it runs.
   *
   * @param vm how operators call the guest
   */
  MigrationView view(String vm);
}
