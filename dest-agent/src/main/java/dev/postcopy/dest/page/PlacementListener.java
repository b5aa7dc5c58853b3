package dev.postcopy.dest.page;

/** Told of pages that somebody waited for, after their threads were woken. */
@FunctionalInterface
public interface PlacementListener {

  /**
   * Pages [first, first+count) were placed and their waiters woken; called by the placing loop.
   *
   * @param arrivedNanos when placing began, by System.nanoTime
   * @param placedNanos when the pages were copied, and their waiters not yet woken
   */
  void onPlaced(int first, int count, long arrivedNanos, long placedNanos);
}
