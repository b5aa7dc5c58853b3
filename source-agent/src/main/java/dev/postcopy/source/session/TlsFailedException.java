package dev.postcopy.source.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.transport.tls.TlsFailure;

/**
 * The destination's host answers, and TLS does not come about: for a migration that has not begun a
 * reason not to begin it, for one that is committed a reason to try again later.
 */
final class TlsFailedException extends UnreachableException {

  private static final long serialVersionUID = 1L;

  private final TlsFailure failure;

  TlsFailedException(TlsFailure failure) {
    super(String.valueOf(failure.getMessage()));
    this.failure = failure;
  }

  Refusal asRefusal() {
    return new Refusal(failure.reason(), failure.remedy());
  }
}
