package dev.postcopy.source.page;

/**
 * How much bulk may be sent in a second. Owned by the bulk loop, but for {@link #change}. What was
 * not used is forgotten after a short while, so that a pause is not followed by a flood.
 */
public final class BandwidthLimit {

  /** No limit. */
  public static final long UNLIMITED = Long.MAX_VALUE;

  /** As long as some migrations take for a turn each; what is in flight the window bounds. */
  private static final double BURST_SECONDS = 0.1;

  private volatile long bytesPerSecond;
  private double allowedBytes;
  private long filledNanos;

  /**
   * @param bytesPerSecond positive, or {@link #UNLIMITED}
   */
  public BandwidthLimit(long bytesPerSecond) {
    this.bytesPerSecond = bytesPerSecond;
  }

  /**
   * Holds from the next page on; from any thread.
   *
   * @param limit positive, or {@link #UNLIMITED}
   */
  public void change(long limit) {
    bytesPerSecond = limit;
  }

  /** What holds now; from any thread. */
  public long bytesPerSecond() {
    return bytesPerSecond;
  }

  /** Something was sent. */
  void onSent(long bytes) {
    allowedBytes -= bytes;
  }

  /**
   * How long to wait before more may be sent.
   *
   * @param nowNanos {@link System#nanoTime}
   * @return nanoseconds; 0: send
   */
  long waitNanos(long nowNanos) {
    long bytesPerSecond = this.bytesPerSecond;
    if (bytesPerSecond == UNLIMITED) {
      // What was sent without a limit is not owed to the next one.
      filledNanos = nowNanos;
      allowedBytes = 0;
      return 0;
    }
    double seconds = (nowNanos - filledNanos) / 1e9;
    filledNanos = nowNanos;
    allowedBytes =
        Math.min(allowedBytes + seconds * bytesPerSecond, BURST_SECONDS * bytesPerSecond);
    return allowedBytes > 0 ? 0 : (long) (-allowedBytes / bytesPerSecond * 1e9) + 1;
  }
}
