package dev.postcopy.dest.session;

/** How far a migration has come at the destination, in order; it never goes back. */
public enum DestinationPhase {
  /** Waiting for a source; nothing was touched. */
  LISTENING,
  /** Holes are punched, faults are served, QEMU loads the device state. */
  LOADING,
  /** QEMU could run the guest, and must not before the source has said COMMIT. */
  LOADED,
  /** The guest belongs here; its memory follows. */
  DRAINING,
  /** Every page is known here, and both sides found the counts true. */
  COMPLETED;

  /** Whether the guest certainly is at the source still. */
  boolean canBeGivenUp() {
    return this == LISTENING || this == LOADING;
  }

  /**
   * The one way on.
   *
   * @throws IllegalStateException where {@code next} is not the phase that follows
   */
  DestinationPhase advanceTo(DestinationPhase next) {
    boolean follows =
        switch (this) {
          case LISTENING -> next == LOADING;
          case LOADING -> next == LOADED;
          case LOADED -> next == DRAINING;
          case DRAINING -> next == COMPLETED;
          case COMPLETED -> false;
        };
    if (!follows) {
      throw new IllegalStateException("no way from " + this + " to " + next);
    }
    return next;
  }
}
