package dev.postcopy.source.session;

/** Who listens at the destination sends this source away, whose guest is committed. */
final class UnwelcomeException extends LinkLostException {

  private static final long serialVersionUID = 1L;

  UnwelcomeException(String reason) {
    super(reason);
  }
}
