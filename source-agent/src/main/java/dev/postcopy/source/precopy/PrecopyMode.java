package dev.postcopy.source.precopy;

/** How much memory goes ahead while the guest runs at the source. */
public sealed interface PrecopyMode {

  /**
   * Reads a mode as an operator writes it: auto, off, or a number of rounds.
   *
   * @throws IllegalArgumentException which says what is wrong, where it is none of these
   */
  static PrecopyMode parse(String text) {
    return switch (text) {
      case "auto" -> new Auto();
      case "off" -> new Off();
      default -> new Rounds(rounds(text));
    };
  }

  private static int rounds(String text) {
    try {
      int rounds = Integer.parseInt(text);
      if (rounds > 0) {
        return rounds;
      }
    } catch (NumberFormatException e) {
      // Said below.
    }
    throw new IllegalArgumentException("'" + text + "' is not auto, off, or a number of rounds");
  }

  /** The form that {@link #parse} reads. */
  default String text() {
    return switch (this) {
      case Auto() -> "auto";
      case Off() -> "off";
      case Rounds(int count) -> Integer.toString(count);
    };
  }

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
