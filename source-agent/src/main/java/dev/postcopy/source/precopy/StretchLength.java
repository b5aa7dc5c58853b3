package dev.postcopy.source.precopy;

import java.util.concurrent.TimeUnit;

/**
 * How many pages go ahead in one stretch: as many as the link takes about a fifth of a second for.
 * What the guest writes to between a stretch's protection and its sending is sent in vain, which
 * speaks for short ones; that each begins with system calls and a command to QEMU, for long ones.
 */
public final class StretchLength {

  private static final long STRETCH_NANOS = TimeUnit.MILLISECONDS.toNanos(200);

  private static final int FIRST_PAGES = 4096;

  private static final int LEAST_PAGES = 256;

  private static final int MOST_PAGES = 1 << 24;

  private int pages = FIRST_PAGES;

  /** What the next one should be. */
  public int pages() {
    return pages;
  }

  /**
   * A stretch took {@code nanos} for {@code pushed} pages with content. It tells nothing of the
   * link where these were few.
   */
  public void onPushed(int pushed, long nanos) {
    if (pushed >= pages / 2) {
      double fitting = (double) pushed * STRETCH_NANOS / Math.max(1, nanos);
      pages = (int) Math.clamp(Math.min(fitting, 2.0 * pages), LEAST_PAGES, MOST_PAGES);
    }
  }
}
