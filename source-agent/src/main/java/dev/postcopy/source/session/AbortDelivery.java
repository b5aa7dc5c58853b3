package dev.postcopy.source.session;

import dev.postcopy.transport.Connection;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.FrameSink;
import dev.postcopy.wire.Wire;
import io.netty.channel.EventLoopGroup;
import java.time.Duration;
import java.time.Instant;
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

  /** For a destination that may come back, while somebody waits for this command. */
  static final Duration PATIENCE = Duration.ofSeconds(10);

  private static final Duration ANSWER_PATIENCE = Duration.ofSeconds(2);

  private AbortDelivery() {}

  /**
   * @param vm the name by which the destination knows the guest
   * @param patience how long to try
   * @return whether the destination knows
   */
  static boolean tell(
      Destination destination,
      EventLoopGroup loop,
      UUID session,
      String vm,
      String reason,
      Duration patience) {
    long deadline = System.nanoTime() + patience.toNanos();
    try {
      do {
        if (isHeard(destination, loop, session, vm, reason, deadline - System.nanoTime())) {
          return true;
        }
      } while (System.nanoTime() < deadline);
      log.info("the destination was not told: it does not answer");
    } catch (MigrationFailedException e) {
      log.info("the destination was not told: {}", e.getMessage());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    return false;
  }

  /** One connection, which may be dead without anybody being told. */
  private static boolean isHeard(
      Destination destination,
      EventLoopGroup loop,
      UUID session,
      String vm,
      String reason,
      long patienceNanos)
      throws MigrationFailedException, InterruptedException {
    CountDownLatch welcomed = new CountDownLatch(1);
    CountDownLatch known = new CountDownLatch(1);
    Connection connection =
        destination.connect(
            loop, Duration.ofNanos(patienceNanos), made -> new Answer(welcomed, known));
    try {
      connection.send(
          new ControlFrame.Hello(
              Wire.VERSION, session, ConnectionRole.DEMAND, lastAttempt(), vm, List.of()));
      if (!welcomed.await(ANSWER_PATIENCE.toMillis(), TimeUnit.MILLISECONDS)) {
        return false;
      }
      connection.send(new ControlFrame.Abort(reason));
      return known.await(ANSWER_PATIENCE.toMillis(), TimeUnit.MILLISECONDS);
    } finally {
      connection.closeAndWait();
    }
  }

  /**
   * Nothing comes behind this word, so any number does that is above all before; the time, because
   * it is above that of a word that was not answered, too. That would be refused, as a session is
   * that nobody knows.
   */
  static int lastAttempt() {
    return (int) Instant.now().getEpochSecond();
  }

  /** A sent word may be lost: only the answer to it tells that it was heard. */
  private record Answer(CountDownLatch welcomed, CountDownLatch known) implements FrameSink {

    @Override
    public void onControl(ControlFrame frame) {
      welcomed.countDown();
      // A destination that does not know the session is not in doubt.
      if (frame instanceof ControlFrame.Abort
          || frame.equals(ControlFrame.Refuse.OF_AN_UNKNOWN_MIGRATION)) {
        known.countDown();
      }
    }

    @Override
    public void onClosed(CloseCause cause) {}
  }
}
