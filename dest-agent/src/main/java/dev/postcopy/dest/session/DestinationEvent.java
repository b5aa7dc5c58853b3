package dev.postcopy.dest.session;

import dev.postcopy.qmp.QmpEvent;
import dev.postcopy.transport.Connection;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;

/** What can happen to a session; posted by event loops, taken by the session's own thread. */
sealed interface DestinationEvent {

  /** Somebody connected and introduced himself. */
  record Greeted(Connection connection, ControlFrame.Hello hello) implements DestinationEvent {}

  /** What belongs to one pair of connections, and means nothing when that is given up. */
  sealed interface OfLink extends DestinationEvent {}

  /** The source says something. */
  record Said(ControlFrame frame) implements OfLink {}

  /** A connection of this migration is gone. */
  record ConnectionLost(ConnectionRole role, CloseCause cause) implements OfLink {}

  /** Every page is known here. */
  record AllPagesKnown() implements DestinationEvent {}

  /** There is no memory for a page now; there may be later. */
  record OutOfMemory(String cause) implements OfLink {}

  /** Faults cannot be served, or pages not be placed. */
  record ServingFailed(String cause) implements DestinationEvent {}

  /** QEMU took the command to let the guest run. */
  record Continued() implements DestinationEvent {}

  /** QEMU did not take the command to let the guest run, or is not there to say so. */
  record NotContinued(String cause) implements DestinationEvent {}

  /** The operator wants no guest here. */
  record Cancelled() implements DestinationEvent {}

  /** QEMU reports something. */
  record QemuReported(QmpEvent event) implements DestinationEvent {}

  /** QEMU's monitor is gone. */
  record QemuGone() implements DestinationEvent {}
}
