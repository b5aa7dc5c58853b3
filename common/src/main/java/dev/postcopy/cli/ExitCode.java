package dev.postcopy.cli;

/** What a command's exit code says about where the guest is. */
public enum ExitCode {
  /** The guest runs at the destination and all of its memory is there. */
  COMPLETED(0),
  /** The migration failed; the guest runs at the source as before. */
  FAILED_AT_SOURCE(1),
  /** Refused, or wrong usage; nothing was touched. */
  REFUSED(2),
  /** The guest belongs to the destination, but not all of its memory arrived. */
  INCOMPLETE_AT_DESTINATION(3);

  private final int code;

  ExitCode(int code) {
    this.code = code;
  }

  public int code() {
    return code;
  }
}
