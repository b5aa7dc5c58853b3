package dev.postcopy.dest.session;

import dev.postcopy.cli.ExitCode;
import dev.postcopy.journal.DestinationEntry;
import dev.postcopy.journal.Journal;
import dev.postcopy.metrics.Outcome;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.ControlFrame.Standing;
import java.time.Duration;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Every page is here; the source has to hear that, or it keeps the guest's memory. Nothing of the
 * guest depends on it: what goes wrong here is a warning, but for a source that does not trust what
 * it sent. For the session's thread.
 */
final class Confirmation {

  private static final Logger log = LoggerFactory.getLogger(Confirmation.class);

  /** For a source that is not there; it can ask again with resume on both sides. */
  private static final long LINGER_MILLIS = 10_000;

  /** A source that is there sets its QEMU back first, for which a command may take 10 s. */
  private static final Duration SILENCE = Duration.ofSeconds(30);

  private final DestinationConversation conversation;
  private final Reception reception;
  private final Journal<DestinationEntry> journal;
  private DestinationEntry entry;
  private @Nullable DestinationLink link;
  private ControlFrame.@Nullable Confirmed confirmed;
  private @Nullable String objection;

  /**
   * @param entry as it is in {@code journal}: COMPLETED
   * @param link on which COMPLETE was said; null: the source has to come back
   */
  Confirmation(
      DestinationConversation conversation,
      Reception reception,
      Journal<DestinationEntry> journal,
      DestinationEntry entry,
      @Nullable DestinationLink link) {
    this.conversation = conversation;
    this.reception = reception;
    this.journal = journal;
    this.entry = entry;
    this.link = link;
  }

  /** Waits for the source's last word, on one link after the other. */
  void await() {
    while (!isLastWordHeard()) {
      try {
        DestinationLink current = link == null ? reconnect() : link;
        if (current == null) {
          log.warn("the source did not confirm the counts; every page is here all the same");
          return;
        }
        confirmed = awaitWord();
      } catch (LinkLostException e) {
        log.warn("{}; waiting for the source to come back", e.getMessage());
        close();
      } catch (SourceGaveUpException e) {
        object(String.valueOf(e.getMessage()));
      } catch (MigrationFailedException e) {
        log.warn("{}; every page is here all the same", e.getMessage());
        return;
      }
    }
  }

  /** The source says it again where it is not answered. */
  private void object(String reason) {
    log.warn("{}; every page is here all the same", reason);
    objection = reason;
    if (link != null) {
      link.giveUp(reason);
    }
  }

  /** Whether the source has said how it ended: nothing is left to be told then, and to nobody. */
  boolean isLastWordHeard() {
    return confirmed != null || objection != null;
  }

  /** What the source measured; null where it has not said so. */
  ControlFrame.@Nullable Confirmed confirmed() {
    return confirmed;
  }

  /**
   * How the migration ended, once it was waited for the source.
   *
   * @param serving null where another agent has served
   */
  Outcome outcome(@Nullable FaultServing serving) {
    return objection == null
        ? DestinationReport.outcome(ExitCode.COMPLETED, "completed", "", serving, confirmed)
        : DestinationReport.distrusted(objection, serving);
  }

  private @Nullable DestinationLink reconnect() throws MigrationFailedException {
    DestinationLink next = reception.awaitAgain(Standing.COMPLETE, LINGER_MILLIS, () -> {});
    if (next != null) {
      link = next;
      entry = entry.withAttempt(next.attempt());
      journal.writeOrWarn(entry);
      next.expectSignsOfLife(SILENCE);
    }
    return next;
  }

  private ControlFrame.Confirmed awaitWord() throws MigrationFailedException {
    while (true) {
      DestinationEvent event = conversation.take();
      if (event instanceof DestinationEvent.Said(ControlFrame.Confirmed said)) {
        return said;
      }
      // Both connections end with the source's last word, and bulk may be seen to end first.
      if (!(event instanceof DestinationEvent.ConnectionLost lost
          && lost.role() == ConnectionRole.BULK)) {
        reception.handle(event);
      }
    }
  }

  /** Nothing that a peer says behind its last word reaches the guest when this returns. */
  void close() {
    if (link != null) {
      link.close();
      link = null;
    }
  }
}
