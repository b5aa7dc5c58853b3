package dev.postcopy.source.precopy;

/** How much memory goes ahead while the guest runs at the source. */
public sealed interface PrecopyMode {

  /** As long as it pays, where the host can watch writes. */
  record Auto() implements PrecopyMode {}

  /** None. */
  record Off() implements PrecopyMode {}

  /**
   * So many times over what was written, whatever it pays.
   *
   * @param count 1 or more; the first goes over all memory
   */
  record Rounds(int count) implements PrecopyMode {}
}
