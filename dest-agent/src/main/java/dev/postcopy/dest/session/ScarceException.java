package dev.postcopy.dest.session;

/** There is no room for a page, or for a word on the disk; there may be, a while later. */
final class ScarceException extends LinkLostException {

  private static final long serialVersionUID = 1L;

  ScarceException(String reason) {
    super(reason);
  }
}
