package dev.postcopy.daemon;

import io.netty.util.concurrent.EventExecutor;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.RejectedExecutionException;

/**
 * Whether the event loops of migrations turn: each is given a task, and the round is over when all
 * have run theirs. Owned by the daemon's event loop.
 */
final class LoopRound {

  private final EventExecutor home;

  /** Those that have not answered, and whose they are. */
  private final Map<EventExecutor, String> silent = new LinkedHashMap<>();

  LoopRound(EventExecutor home) {
    this.home = home;
  }

  /**
   * Asks a loop.
   *
   * @param vm whose migration it serves
   */
  void ask(String vm, EventExecutor loop) {
    silent.put(loop, vm);
    try {
      loop.execute(() -> home.execute(() -> silent.remove(loop)));
    } catch (RejectedExecutionException e) {
      // Its migration has ended.
      silent.remove(loop);
    }
  }

  /** Whether all have answered that serve a migration still. */
  boolean isOver() {
    // A loop that ends may drop the task.
    silent.keySet().removeIf(EventExecutor::isShuttingDown);
    return silent.isEmpty();
  }

  /** The machines whose loops have not answered. */
  List<String> waitsFor() {
    return silent.values().stream().distinct().toList();
  }
}
