package dev.postcopy.source.session;

import dev.postcopy.linux.TruncatedFileException;
import dev.postcopy.qmp.QmpEvent;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;

/** What can happen to a session; posted by event loops, taken by the session's own thread. */
sealed interface SourceEvent {

  /** What belongs to one pair of connections, and means nothing when that is given up. */
  sealed interface OfLink extends SourceEvent {}

  /** The destination says something. */
  record Said(ControlFrame frame) implements OfLink {}

  /** A connection to the destination is gone. */
  record ConnectionLost(CloseCause cause) implements OfLink {}

  /** What it means that a connection was closed because of {@code cause}. */
  static SourceEvent closed(CloseCause cause) {
    // A SIGBUS in mapped memory is an InternalError in Java; no other link will cure either.
    return cause instanceof CloseCause.Failure(Throwable thrown)
            && (thrown instanceof InternalError || thrown instanceof TruncatedFileException)
        ? new ServingFailed("the guest's RAM file was truncated: what was not sent is lost")
        : new ConnectionLost(cause);
  }

  /** Every page was claimed, and everything pushed was acknowledged. */
  record Drained() implements OfLink {}

  /**
   * What was asked of the push while the guest runs is done, and everything that was put on the
   * bulk connection was acknowledged.
   *
   * @param turn of the asking
   */
  record Settled(int turn) implements OfLink {}

  /** QEMU's whole device state was put on the wire. */
  record DeviceStateSent(long byteLength) implements SourceEvent {}

  /** Pages cannot be read any more. */
  record ServingFailed(String cause) implements SourceEvent {}

  /** The operator wants the guest to stay here. */
  record Cancelled() implements SourceEvent {}

  /** QEMU reports something. */
  record QemuReported(QmpEvent event) implements SourceEvent {}

  /** QEMU's monitor is gone. */
  record QemuGone() implements SourceEvent {}
}
