package dev.postcopy.source.session;

/** The connections to the destination are gone; once the guest is committed, others will follow. */
class LinkLostException extends MigrationFailedException {

  private static final long serialVersionUID = 1L;

  LinkLostException(String reason) {
    super(reason);
  }
}
