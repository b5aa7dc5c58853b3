package dev.postcopy.dest.page;

/** A page cannot be placed: whoever waits for it goes on waiting, and never sees zeros. */
public final class PlacingFailedException extends RuntimeException {

  private static final long serialVersionUID = 1L;

  private final boolean curable;

  /**
   * @param curable whether it may go well later: memory is scarce now
   */
  PlacingFailedException(String message, boolean curable) {
    super(message);
    this.curable = curable;
  }

  /** Whether it may go well later. */
  public boolean isCurable() {
    return curable;
  }
}
