package dev.postcopy.source.session;

import dev.postcopy.journal.Journal;
import dev.postcopy.journal.SourceEntry;
import dev.postcopy.metrics.MigrationProgress;
import dev.postcopy.source.page.SentPages;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.DestinationStats;
import dev.postcopy.wire.ControlFrame.Standing;
import java.time.Duration;
import java.util.OptionalInt;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * From the commit to the last count. The guest belongs to the destination: a link that breaks is
 * followed by the next, for as long as this process lives; what the destination has by then it says
 * itself. For the session's thread.
 */
final class SourceDrain {

  private static final Logger log = LoggerFactory.getLogger(SourceDrain.class);

  private static final Duration RUNNING_PATIENCE = Duration.ofSeconds(60);
  private static final Duration RECEIVED_PATIENCE = Duration.ofSeconds(30);
  private static final Duration CONNECT_PATIENCE = Duration.ofSeconds(1);

  /** The destination has everything then, most likely, and its agent has ended. */
  private static final Duration UNCONFIRMED_PATIENCE = Duration.ofSeconds(60);

  /** How often others are looked for who write to the guest's RAM. */
  private static final Duration UNSHARED_PERIOD = Duration.ofSeconds(1);

  /**
   * A destination that stood still, or was started again, may not know yet which connection is the
   * newest; one that never takes any is not the right one. With the pauses this is some 15 s.
   */
  private static final int MAX_REFUSALS = 12;

  private static final int FIRST_PAUSE_MILLIS = 50;
  private static final int LONGEST_PAUSE_MILLIS = 2000;
  private static final int PROGRESS_MILLIS = 100;

  private final SourceConversation conversation;
  private final SourceLink.Parts parts;
  private final Journal<SourceEntry> journal;
  private final Runnable letGo;
  private final ProgressListener progress;
  private SourceEntry entry;
  private @Nullable SourceLink link;
  private @Nullable DestinationStats destinationStats;
  private long bytesOfClosedLinks;
  private int reconnects;
  private long runningNanos;
  private long endNanos;
  private long endSentNanos;
  private long unsharedNanos;

  /**
   * @param entry as it is in {@code journal}
   * @param link the first link, where there is one
   * @param letGo leaves nothing of the migration in QEMU
   */
  SourceDrain(
      SourceConversation conversation,
      SourceLink.Parts parts,
      Journal<SourceEntry> journal,
      SourceEntry entry,
      @Nullable SourceLink link,
      Runnable letGo,
      ProgressListener progress) {
    this.conversation = conversation;
    this.parts = parts;
    this.journal = journal;
    this.entry = entry;
    this.link = link;
    this.letGo = letGo;
    this.progress = progress;
  }

  /** Returns when the destination has everything and both sides found the counts true. */
  void run() throws MigrationFailedException {
    int pauseMillis = FIRST_PAUSE_MILLIS;
    int refusals = 0;
    while (conversation.phase() != SourcePhase.COMPLETED) {
      try {
        SourceLink current = link == null ? reconnect() : link;
        pauseMillis = FIRST_PAUSE_MILLIS;
        refusals = 0;
        if (current.standing() != Standing.COMPLETE) {
          handOver(current);
          drain(current);
        }
        confirm(current);
      } catch (LinkLostException e) {
        if (e instanceof UnwelcomeException && ++refusals > MAX_REFUSALS) {
          throw e;
        }
        log.warn("{}; trying again", e.getMessage());
        dropLink();
        requireWorthTrying();
        pause(pauseMillis);
        pauseMillis = Math.min(2 * pauseMillis, LONGEST_PAUSE_MILLIS);
      }
    }
  }

  /**
   * A QEMU that is started anew on the RAM files writes over what was not sent yet. It is better
   * not sent at all: whoever waits for it waits on, and reads nothing that is not the guest's.
   */
  private void requireUnshared() throws MigrationFailedException {
    OptionalInt other = parts.memory().otherWriter();
    if (other.isPresent()) {
      throw new MigrationFailedException(
          "process %d has mapped the guest's RAM file to write to it: what was not sent by then"
                  .formatted(other.getAsInt())
              + " cannot be trusted");
    }
    unsharedNanos = System.nanoTime();
  }

  private void requireWorthTrying() throws MigrationFailedException {
    if (conversation.isCancelled()) {
      throw new MigrationFailedException("interrupted while the destination cannot be reached");
    }
    if (endSentNanos != 0 && System.nanoTime() - endSentNanos > UNCONFIRMED_PATIENCE.toNanos()) {
      throw new MigrationFailedException(
          "everything was sent, and the destination agent is gone without having confirmed it");
    }
  }

  /** An agent that takes the migration up goes by what holds now. */
  private void noteLimit() {
    long bytesPerSecond = parts.limit().bytesPerSecond();
    if (bytesPerSecond != entry.maxBulkBytesPerSecond()) {
      entry = entry.limitedTo(bytesPerSecond);
      journal.writeOrWarn(entry);
    }
  }

  private SourceLink reconnect() throws MigrationFailedException {
    requireUnshared();
    entry = entry.withAttempt(entry.attempt() + 1).limitedTo(parts.limit().bytesPerSecond());
    // Whoever resumes from the older entry is refused once by the destination, and tries higher.
    journal.writeOrWarn(entry);
    SourceLink next;
    try {
      next = SourceLink.open(parts, conversation, entry.attempt(), CONNECT_PATIENCE);
    } catch (LinkLostException e) {
      throw e;
    } catch (UnreachableException e) {
      throw new LinkLostException(String.valueOf(e.getMessage()));
    }
    link = next;
    reconnects++;
    if (next.standing() == Standing.COMPLETE) {
      return next;
    }
    ControlFrame.ReceivedEnd received =
        conversation.expect(ControlFrame.ReceivedEnd.class, RECEIVED_PATIENCE);
    int told = next.pages().receivedPages();
    if (told != received.dataPages() + received.zeroPages()) {
      throw new LinkLostException(
          "the destination tells of %d pages and counts %d + %d"
              .formatted(told, received.dataPages(), received.zeroPages()));
    }
    next.pages().restart(received.dataPages(), received.zeroPages());
    next.pages().startMeasuring();
    next.pages().startAnswering();
    log.info("connected again; the destination has {} pages", told);
    return next;
  }

  /** Says COMMIT where the destination has not heard it, and begins to push. */
  private void handOver(SourceLink current) throws MigrationFailedException {
    if (current.standing() != Standing.COMMITTED) {
      current.demand().send(new ControlFrame.Commit(entry.run()));
      conversation.expect(ControlFrame.Running.class, RUNNING_PATIENCE);
    }
    if (conversation.phase() == SourcePhase.COMMITTED) {
      runningNanos = System.nanoTime();
      conversation.advanceTo(SourcePhase.DRAINING);
      log.info("the guest is at the destination, downtime {} µs", downtimeMicros());
    }
    // Not before: until the guest runs there, nothing should take time from its switch-over.
    current.pages().startPushing();
  }

  private void drain(SourceLink current) throws MigrationFailedException {
    SentPages sent = parts.sent();
    boolean endSent = false;
    DestinationStats stats = null;
    while (stats == null) {
      // The other loop may have claimed a page and not counted it yet.
      if (conversation.isDrained() && !endSent && sent.isAllCounted()) {
        current.demand().send(new ControlFrame.End(sent.dataPages(), sent.zeroPages()));
        endSent = true;
        endSentNanos = System.nanoTime();
      }
      SourceEvent event =
          conversation.poll(conversation.isDrained() && !endSent ? 1 : PROGRESS_MILLIS);
      reportProgress();
      noteLimit();
      if (System.nanoTime() - unsharedNanos > UNSHARED_PERIOD.toNanos()) {
        requireUnshared();
      }
      if (event instanceof SourceEvent.Said(ControlFrame.Complete(DestinationStats said))) {
        stats = said;
      } else if (event != null) {
        conversation.unexpected(event);
      }
    }
    requireUnshared();
    verify(sent, stats, entry.attempt() > 0);
    destinationStats = stats;
    endNanos = System.nanoTime();
  }

  /**
   * The journal goes before CONFIRMED: a destination that has heard CONFIRMED is not there any more
   * to tell a source that comes back from a crash that all is well.
   */
  private void confirm(SourceLink current) {
    // While somebody can still take it up who finds it left behind.
    letGo.run();
    journal.remove();
    current
        .demand()
        .sendLast(new ControlFrame.Confirmed(downtimeMicros(), totalMicros(), bytesSent()));
    conversation.complete();
  }

  /**
   * @param resumed a destination that came back from a crash cannot tell a zero page that it had
   *     placed from one with content: then only the sum is compared
   */
  private static void verify(SentPages pages, DestinationStats stats, boolean resumed)
      throws MigrationFailedException {
    boolean same =
        resumed
            ? stats.dataPages() + stats.zeroPages() == pages.pageCount()
            : stats.dataPages() == pages.dataPages() && stats.zeroPages() == pages.zeroPages();
    if (!same || !pages.isAllCounted()) {
      throw new MigrationFailedException(
          "the counts differ: sent %d + %d zero of %d pages, received %d + %d zero"
              .formatted(
                  pages.dataPages(),
                  pages.zeroPages(),
                  pages.pageCount(),
                  stats.dataPages(),
                  stats.zeroPages()));
    }
  }

  private void dropLink() {
    if (link != null) {
      link.close();
      bytesOfClosedLinks += link.pages().bytesSent();
      link = null;
    }
  }

  /**
   * Tells the destination that nothing more will come, where it can be reached at all: also where
   * the connection that is there has failed, and not the network. Not before it is known to have
   * heard COMMIT: in doubt, it would take that for the word that the guest stays here.
   */
  void sayLast(String reason) {
    if (conversation.phase() == SourcePhase.COMMITTED || link == null) {
      return;
    }
    if (!link.giveUp(reason, conversation)) {
      link.close();
      // Whoever takes this up has to come behind the word, should it be heard and not answered.
      entry = entry.withAttempt(AbortDelivery.lastAttempt());
      journal.writeOrWarn(entry);
      boolean told =
          AbortDelivery.tell(
              parts.destination(),
              parts.demandLoop(),
              parts.session(),
              parts.vm(),
              reason,
              CONNECT_PATIENCE);
      log.info("the destination {} of it", told ? "knows" : "does not know");
    }
  }

  /** The newest link, where there is one, to be closed. */
  @Nullable SourceLink link() {
    return link;
  }

  private static void pause(int millis) throws MigrationFailedException {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new MigrationFailedException("interrupted");
    }
  }

  private void reportProgress() {
    SentPages sent = parts.sent();
    progress.onProgress(
        new MigrationProgress(
            conversation.phase().name(),
            sent.pageCount(),
            SourceReport.counts(sent),
            bytesSent(),
            sent.faults(),
            link == null ? 0 : link.pages().roundTripMicros(),
            parts.window().bytes(),
            reconnects));
  }

  /** What the destination counted; null before it has said so. */
  @Nullable DestinationStats destinationStats() {
    return destinationStats;
  }

  /** Bytes of all frames on all links. */
  long bytesSent() {
    return bytesOfClosedLinks + (link == null ? 0 : link.pages().bytesSent());
  }

  /** From STOP to RUNNING; 0 where either was not seen by this process. */
  long downtimeMicros() {
    return since(conversation.stopNanos(), runningNanos);
  }

  /** From STOP to COMPLETE; 0 where either was not seen by this process. */
  long totalMicros() {
    return since(conversation.stopNanos(), endNanos);
  }

  private static long since(long startNanos, long stopNanos) {
    return startNanos == 0 || stopNanos == 0
        ? 0
        : TimeUnit.NANOSECONDS.toMicros(stopNanos - startNanos);
  }
}
