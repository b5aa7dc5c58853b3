package dev.postcopy.source.session;

import dev.postcopy.qmp.QmpEvent;
import dev.postcopy.wire.ControlFrame;

/** What can happen to a session; posted by event loops, taken by the session's own thread. */
sealed interface SourceEvent {

  /** The destination says something. */
  record Said(ControlFrame frame) implements SourceEvent {}

  /** A connection to the destination is gone. */
  record ConnectionLost(String cause) implements SourceEvent {}

  /** QEMU's whole device state was put on the wire. */
  record DeviceStateSent(long byteLength) implements SourceEvent {}

  /** Every page was claimed, and everything pushed was acknowledged. */
  record Drained() implements SourceEvent {}

  /** The operator wants the guest to stay here. */
  record Cancelled() implements SourceEvent {}

  /** QEMU reports something. */
  record QemuReported(QmpEvent event) implements SourceEvent {}

  /** QEMU's monitor is gone. */
  record QemuGone() implements SourceEvent {}
}
