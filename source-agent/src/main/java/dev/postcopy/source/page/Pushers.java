package dev.postcopy.source.page;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * The migrations of one process that push at the moment, and whose turn it is. They are taken to
 * share a link: none knows of the others but by the delay that all cause together. From any thread.
 *
 * <p>Turns go by the clock. Nobody hands over, so nobody can be waited for.
 */
final class Pushers {

  static final Pushers OF_THIS_PROCESS = new Pushers();

  /** Long against a round trip of a link that is short of everything, short for a guest. */
  static final long TURN_NANOS = TimeUnit.MILLISECONDS.toNanos(10);

  private volatile List<BulkWindow> pushing = List.of();

  synchronized void enter(BulkWindow window) {
    List<BulkWindow> more = new ArrayList<>(pushing);
    more.add(window);
    pushing = List.copyOf(more);
  }

  synchronized void leave(BulkWindow window) {
    pushing = pushing.stream().filter(other -> other != window).toList();
  }

  int count() {
    return pushing.size();
  }

  /**
   * How long it is not the turn of {@code window}; who has not entered waits for nobody.
   *
   * @param nowNanos {@link System#nanoTime}
   * @return nanoseconds; 0 in its turn
   */
  long nanosUntilTurn(BulkWindow window, long nowNanos) {
    List<BulkWindow> all = pushing;
    int own = all.indexOf(window);
    if (own < 0) {
      return 0;
    }
    long turn = Math.floorDiv(nowNanos, TURN_NANOS);
    long turnsAhead = Math.floorMod(own - turn, (long) all.size());
    return turnsAhead == 0 ? 0 : (turn + turnsAhead) * TURN_NANOS - nowNanos;
  }
}
