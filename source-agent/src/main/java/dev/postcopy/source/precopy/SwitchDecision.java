package dev.postcopy.source.precopy;

import dev.postcopy.memory.RamLayout;
import java.time.Duration;

/**
 * Whether the guest goes over now, or another round is made first. It ends for every guest: each
 * round but the first leaves at most three quarters of what the one before left, or it is the last.
 */
public final class SwitchDecision {

  /** A round that takes longer than this part of the last one leaves nearly as much behind. */
  private static final double WORTHWHILE = 0.5;

  /** A round that leaves more than this part of what it was made for does not get anywhere. */
  private static final double PROGRESS = 0.75;

  private final PrecopyMode mode;
  private final Duration downtimeLimit;
  private int pagesBefore = Integer.MAX_VALUE;

  /** The best so far: a round of a few pages does not show what the link can. */
  private double bytesPerNano;

  /**
   * @param downtimeLimit what is left may go across with the guest stopped if it takes no longer
   */
  public SwitchDecision(PrecopyMode mode, Duration downtimeLimit) {
    this.mode = mode;
    this.downtimeLimit = downtimeLimit;
  }

  /** Whether {@code round} was the last; to be asked once for each. */
  public boolean isEnough(Round round) {
    bytesPerNano = Math.max(bytesPerNano, (double) round.bytesSent() / Math.max(1, round.nanos()));
    return switch (mode) {
      case PrecopyMode.Off() -> true;
      case PrecopyMode.Rounds(int count) -> round.number() >= count || round.pagesWritten() == 0;
      case PrecopyMode.Auto() -> !pays(round);
    };
  }

  private boolean pays(Round round) {
    boolean progress = round.pagesWritten() <= PROGRESS * pagesBefore;
    pagesBefore = round.pagesWritten();
    // While the next round takes, the guest writes as fast as it did: what it leaves behind is to
    // what this one left as their times are.
    double nextNanos = nanosFor(round.pagesWritten());
    return progress
        && !fitsDowntime(round.pagesWritten())
        && nextNanos <= WORTHWHILE * round.nanos();
  }

  /** Whether so many pages can go across while the guest is stopped. */
  public boolean fitsDowntime(int pages) {
    return nanosFor(pages) <= downtimeLimit.toNanos();
  }

  /** How long {@code pages} take on this link; endless before anything was sent. */
  private double nanosFor(int pages) {
    return pages == 0 ? 0 : (double) pages * RamLayout.PAGE_BYTES / bytesPerNano;
  }
}
