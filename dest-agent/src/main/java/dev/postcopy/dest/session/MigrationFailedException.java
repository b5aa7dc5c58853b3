package dev.postcopy.dest.session;

/** The migration cannot go on; what becomes of the guest depends on the phase. */
class MigrationFailedException extends Exception {

  private static final long serialVersionUID = 1L;

  MigrationFailedException(String reason) {
    super(reason);
  }
}
