package dev.postcopy.linux;

/** A RAM file is shorter than its block: what was behind its end is lost, and is not zero. */
public final class TruncatedFileException extends RuntimeException {

  private static final long serialVersionUID = 1L;

  TruncatedFileException(long wantedBytes, long foundBytes) {
    super("a RAM file of %d bytes, where %d are needed".formatted(foundBytes, wantedBytes));
  }
}
