package dev.postcopy.journal;

import java.util.UUID;

/**
 * A migration as its destination has to know it after a crash.
 *
 * @param attempt of the newest pair of connections
 * @param userfaultfd its number in QEMU; -1 before LOADED
 * @param run whether the guest shall run here; known from COMMITTED on
 */
public record DestinationEntry(
    UUID session, State state, int attempt, VmIdentity vm, int userfaultfd, boolean run) {

  /** The ending of the files. */
  public static final String KIND = "destination";

  /** What is true from the moment when it is written. */
  public enum State {
    /** QEMU is being filled; the guest is at the source for certain. */
    LOADING,
    /** QEMU could run the guest; only the source knows whether it may. */
    LOADED,
    /** The guest belongs here; it may have to be set going still. */
    COMMITTED,
    /** The guest belongs here and was set going, where it shall run. */
    RUNNING,
    /** Every page is here; the source may not have heard it. */
    COMPLETED
  }

  public DestinationEntry in(State next) {
    return new DestinationEntry(session, next, attempt, vm, userfaultfd, run);
  }

  public DestinationEntry loaded(int userfaultfdInQemu) {
    return new DestinationEntry(session, State.LOADED, attempt, vm, userfaultfdInQemu, run);
  }

  public DestinationEntry committed(boolean runHere) {
    return new DestinationEntry(session, State.COMMITTED, attempt, vm, userfaultfd, runHere);
  }

  public DestinationEntry withAttempt(int next) {
    return new DestinationEntry(session, state, next, vm, userfaultfd, run);
  }
}
