package dev.postcopy.source.session;

import dev.postcopy.source.precopy.PrecopyMode;
import java.time.Duration;
import java.util.OptionalInt;

/**
 * What goes ahead of the guest.
 *
 * @param mode how much
 * @param downtimeLimit what is left may go across with the guest stopped if it takes no longer
 * @param switchAfterMillis the guest goes over so long after the first page was sent, wherever the
 *     push is then; for tests
 * @param leavePaused a guest that runs is paused at the destination; for tests
 */
public record PrecopyOptions(
    PrecopyMode mode, Duration downtimeLimit, OptionalInt switchAfterMillis, boolean leavePaused) {

  /** Nothing goes ahead. */
  public static final PrecopyOptions OFF =
      new PrecopyOptions(new PrecopyMode.Off(), Duration.ZERO, OptionalInt.empty(), false);

  /** The same where a request has said something else. */
  PrecopyOptions with(PrecopyMode otherMode, Duration otherLimit, OptionalInt otherSwitch) {
    return new PrecopyOptions(otherMode, otherLimit, otherSwitch, leavePaused);
  }
}
