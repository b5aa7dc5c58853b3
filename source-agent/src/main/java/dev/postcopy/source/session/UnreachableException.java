package dev.postcopy.source.session;

/** Nobody listens where the destination agent should be. */
class UnreachableException extends MigrationFailedException {

  private static final long serialVersionUID = 1L;

  UnreachableException(String reason) {
    super(reason);
  }
}
