package dev.postcopy.dest.session;

import dev.postcopy.transport.Connection;
import dev.postcopy.wire.Wire;
import io.netty.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * When pushed pages are read: once two or three frames of them are there, where the link brings
 * them soon and the source has them in flight; else as they arrive. On a fast link that would wake
 * this loop, and by its acknowledgement the source's, for every few packets. Nobody waits for what
 * lies in the socket: a page that somebody wants is not acknowledged yet, so the source sends it
 * again on the demand connection. Owned by the bulk loop.
 */
final class PushReading {

  private static final int MOST_FRAMES = 3;

  /** What has to arrive within this time to be waited for. */
  private static final double SOON_NANOS = TimeUnit.MICROSECONDS.toNanos(500);

  /** If it does not arrive, what is there is read after once or twice this time. */
  private static final long LOOK_NANOS = TimeUnit.MILLISECONDS.toNanos(2);

  /** So many batches came soon: what was waited for in vain before may come now. */
  private static final int FORGETTING_BATCHES = 256;

  /** Each batch counts for this part in what is known of the link's rate. */
  private static final double WEIGHT = 1.0 / 8;

  /** The bytes of so many frames; any byte for none. */
  private static final Integer[] BYTES_OF_FRAMES = {
    1, Wire.PUSHED_FRAME_BYTES, 2 * Wire.PUSHED_FRAME_BYTES, MOST_FRAMES * Wire.PUSHED_FRAME_BYTES
  };

  private final Connection bulk;
  private long bytesRead;
  private long readNanos = System.nanoTime();
  private double usualBytes;
  private double usualNanos = 1;
  private int awaitedFrames;
  private int mostFrames = MOST_FRAMES;
  private int batchesThatCame;
  private boolean awaitedInVain;
  private @Nullable ScheduledFuture<?> looks;
  private long bytesReadAtLook;

  PushReading(Connection bulk) {
    this.bulk = bulk;
  }

  /** What had arrived was read, and only pushed pages follow. */
  void awaitBatch() {
    long nowNanos = System.nanoTime();
    long batchBytes = bulk.bytesRead() - bytesRead;
    usualBytes += (batchBytes - usualBytes) * WEIGHT;
    usualNanos += (Math.min(nowNanos - readNanos, LOOK_NANOS) - usualNanos) * WEIGHT;
    bytesRead += batchBytes;
    readNanos = nowNanos;
    learnFrom(batchBytes);
    double soonBytes = usualBytes / usualNanos * SOON_NANOS;
    int arrivingFrames = (int) (Math.min((double) batchBytes, soonBytes) / Wire.PUSHED_FRAME_BYTES);
    int frames = Math.min(arrivingFrames, mostFrames);
    await(frames < 2 ? 0 : frames);
  }

  /** A source that has less in flight than is waited for would send no faster than we look. */
  private void learnFrom(long batchBytes) {
    if (!awaitedInVain) {
      batchesThatCame++;
      if (batchesThatCame == FORGETTING_BATCHES) {
        mostFrames = MOST_FRAMES;
      }
    } else if (batchBytes >= Wire.PUSHED_FRAME_BYTES) {
      batchesThatCame = 0;
      mostFrames = Math.max(1, mostFrames - 1);
    }
    awaitedInVain = false;
  }

  private void await(int frames) {
    if (frames == awaitedFrames) {
      return;
    }
    awaitedFrames = frames;
    bulk.awaitBytes(BYTES_OF_FRAMES[frames]);
    if (frames == 0) {
      end();
    } else if (looks == null) {
      looks = bulk.repeat(this::look, LOOK_NANOS, TimeUnit.NANOSECONDS);
    }
  }

  private void look() {
    if (bytesRead == bytesReadAtLook) {
      awaitedInVain = true;
      await(0);
    }
    bytesReadAtLook = bytesRead;
  }

  /** Nothing is waited for, or the connection is closed: there is nothing to look for. */
  void end() {
    if (looks != null) {
      looks.cancel(false);
      looks = null;
    }
  }
}
