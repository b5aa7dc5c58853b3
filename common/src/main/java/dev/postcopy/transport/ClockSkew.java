package dev.postcopy.transport;

import java.util.Locale;

/**
 * How far a peer's clock is from ours, at the least: it told its time somewhere between our
 * question and its answer.
 *
 * @param millis above 0 where the peer's clock is ahead
 */
public record ClockSkew(long millis) {

  /** From here on the dates of certificates, and of log entries, mislead. */
  private static final long NOTABLE_MILLIS = 2000;

  /**
   * @param askedMillis our clock before the question, since 1970
   * @param toldMillis the peer's clock
   * @param heardMillis our clock behind the answer
   */
  public static ClockSkew of(long askedMillis, long toldMillis, long heardMillis) {
    if (toldMillis < askedMillis) {
      return new ClockSkew(toldMillis - askedMillis);
    }
    return new ClockSkew(Math.max(0, toldMillis - heardMillis));
  }

  /** Whether an operator should know. */
  public boolean isNotable() {
    return Math.abs(millis) >= NOTABLE_MILLIS;
  }

  /** For example {@code the destination's clock is 12.5 s ahead of this host's}. */
  public String ofTheDestination() {
    return String.format(
        Locale.ROOT,
        "the destination's clock is %.1f s %s this host's",
        Math.abs(millis) / 1000.0,
        millis > 0 ? "ahead of" : "behind");
  }
}
