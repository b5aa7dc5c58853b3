package dev.postcopy.dest.page;

/** A page cannot be placed: whoever waits for it goes on waiting, and never sees zeros. */
public final class PlacingFailedException extends RuntimeException {

  private static final long serialVersionUID = 1L;

  PlacingFailedException(String message) {
    super(message);
  }
}
