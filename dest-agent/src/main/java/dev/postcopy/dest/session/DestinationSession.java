package dev.postcopy.dest.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.daemon.Migration;
import java.util.Queue;

/** A migration at the destination, begun or taken up. */
sealed interface DestinationSession extends Migration permits ReceiveSession, ResumeSession {

  /** Where greetings of this migration are posted, by a gate that others use as well. */
  Queue<DestinationEvent> greetings();

  /** Sends those away who have greeted and were not heard; when it has ended. */
  default void refuseWaiting(Refusal refusal) {
    for (DestinationEvent event = greetings().poll(); event != null; event = greetings().poll()) {
      if (event instanceof DestinationEvent.Greeted greeted) {
        Gate.refuse(greeted, refusal);
      }
    }
  }
}
