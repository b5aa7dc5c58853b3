package dev.postcopy.source.session;

/** How far a migration has come at the source, in order; it never goes back. */
public enum SourcePhase {
  /** Nothing was touched: connecting, comparing layouts, the destination prepares itself. */
  PREPARING,
  /** The guest runs, and its memory is on its way already. */
  PRECOPYING,
  /** The guest is stopped, or about to be, and its device state is on its way. */
  SWITCHING_OVER,
  /** The guest belongs to the destination; it never runs here again. */
  COMMITTED,
  /** The guest runs at the destination, its memory follows. */
  DRAINING,
  /** Both sides found the counts true. */
  COMPLETED;

  /** Whether a failure ends with the guest running here, as before. */
  public boolean canRollBack() {
    return compareTo(COMMITTED) < 0;
  }

  /** Whether a failure leaves nothing to be undone. */
  public boolean isUntouched() {
    return this == PREPARING;
  }

  /** Whether the guest was not stopped yet. */
  public boolean isGuestUntouched() {
    return this == PREPARING || this == PRECOPYING;
  }

  /**
   * The one way on.
   *
   * @throws IllegalStateException where {@code next} is not the phase that follows
   */
  SourcePhase advanceTo(SourcePhase next) {
    boolean follows =
        switch (this) {
          case PREPARING -> next == PRECOPYING || next == SWITCHING_OVER;
          case PRECOPYING -> next == SWITCHING_OVER;
          case SWITCHING_OVER -> next == COMMITTED;
          case COMMITTED -> next == DRAINING;
          case DRAINING -> next == COMPLETED;
          case COMPLETED -> false;
        };
    if (!follows) {
      throw new IllegalStateException("no way from " + this + " to " + next);
    }
    return next;
  }
}
