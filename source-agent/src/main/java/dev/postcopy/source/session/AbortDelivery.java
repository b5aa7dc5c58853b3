package dev.postcopy.source.session;

import dev.postcopy.transport.Connection;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.FrameSink;
import dev.postcopy.wire.Wire;
import io.netty.channel.EventLoopGroup;
import java.time.Duration;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Tells a destination that may be in doubt that the guest stayed at the source. The guest runs
 * already: this is only for the other side, which waits for a word. For the session's thread.
 */
final class AbortDelivery {

  private static final Logger log = LoggerFactory.getLogger(AbortDelivery.class);
  private static final Duration ANSWER_PATIENCE = Duration.ofSeconds(5);

  private AbortDelivery() {}

  /**
   * @param vm the name by which the destination knows the guest
   * @param attempt higher than those before
   * @param patience how long to try while nobody listens
   * @return whether the destination knows
   */
  static boolean tell(
      Destination destination,
      EventLoopGroup loop,
      UUID session,
      String vm,
      int attempt,
      String reason,
      Duration patience) {
    CountDownLatch welcomed = new CountDownLatch(1);
    CountDownLatch known = new CountDownLatch(1);
    try {
      Connection connection =
          destination.connect(loop, patience, made -> new Answer(welcomed, known));
      try {
        connection.send(
            new ControlFrame.Hello(
                Wire.VERSION, session, ConnectionRole.DEMAND, attempt, vm, List.of()));
        if (!welcomed.await(ANSWER_PATIENCE.toMillis(), TimeUnit.MILLISECONDS)) {
          return false;
        }
        connection.send(new ControlFrame.Abort(reason));
        return known.await(ANSWER_PATIENCE.toMillis(), TimeUnit.MILLISECONDS);
      } finally {
        connection.closeAndWait();
      }
    } catch (MigrationFailedException e) {
      log.info("the destination was not told: {}", e.getMessage());
      return false;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }

  /** A sent word may be lost: only the answer to it tells that it was heard. */
  private record Answer(CountDownLatch welcomed, CountDownLatch known) implements FrameSink {

    @Override
    public void onControl(ControlFrame frame) {
      welcomed.countDown();
      // A destination that does not know the session is not in doubt.
      if (frame instanceof ControlFrame.Abort || frame instanceof ControlFrame.Refuse) {
        known.countDown();
      }
    }

    @Override
    public void onClosed(CloseCause cause) {}
  }
}
