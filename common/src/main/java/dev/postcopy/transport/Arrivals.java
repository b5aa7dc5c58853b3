package dev.postcopy.transport;

import java.time.Duration;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/** Bytes that arrive on an event loop, for a thread that waits for so many. */
public final class Arrivals {

  private final Semaphore bytes = new Semaphore(0);

  /** So many more are there. */
  public void add(int byteLength) {
    bytes.release(byteLength);
  }

  /**
   * Takes {@code byteLength} bytes, and waits for them.
   *
   * @throws IllegalStateException where they do not come in time
   */
  public void take(int byteLength, Duration patience) {
    try {
      if (!bytes.tryAcquire(byteLength, patience.toMillis(), TimeUnit.MILLISECONDS)) {
        throw new IllegalStateException("%d bytes did not arrive".formatted(byteLength));
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while bytes were to arrive", e);
    }
  }
}
