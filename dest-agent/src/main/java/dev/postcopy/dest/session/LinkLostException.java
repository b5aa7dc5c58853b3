package dev.postcopy.dest.session;

/** The connections to the source are gone; once QEMU has loaded the guest, others will follow. */
class LinkLostException extends MigrationFailedException {

  private static final long serialVersionUID = 1L;

  LinkLostException(String reason) {
    super(reason);
  }
}
