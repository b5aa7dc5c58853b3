package dev.postcopy.dest.session;

/** The source said so itself: the guest is there, whatever this side has loaded. */
final class SourceGaveUpException extends MigrationFailedException {

  private static final long serialVersionUID = 1L;

  SourceGaveUpException(String reason) {
    super("the source gave up: " + reason);
  }
}
