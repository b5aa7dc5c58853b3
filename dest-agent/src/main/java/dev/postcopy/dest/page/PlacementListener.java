package dev.postcopy.dest.page;

/** Told of pages that somebody waited for, after their threads were woken. */
@FunctionalInterface
public interface PlacementListener {

  /** Pages [first, first+count) were placed and their waiters woken; called by the placing loop. */
  void onPlaced(int first, int count);
}
