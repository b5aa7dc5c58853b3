package dev.postcopy.cli;

/** The one line that says why an agent does not do what it was told to. */
final class ErrorLine {

  /** sd-daemon(3), SD_ERR: without it the journal takes a line of standard error as information. */
  private static final String ERROR_PRIORITY = "<3>";

  private ErrorLine() {}

  /**
   * @param toJournal whether standard error is the journal's
   */
  static String of(String line, boolean toJournal) {
    return toJournal ? ERROR_PRIORITY + line : line;
  }
}
