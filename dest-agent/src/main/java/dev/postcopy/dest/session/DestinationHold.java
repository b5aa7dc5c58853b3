package dev.postcopy.dest.session;

import dev.postcopy.dest.attach.QemuUserfaultfd;
import dev.postcopy.dest.page.PageStates;
import dev.postcopy.journal.DestinationEntry;
import dev.postcopy.journal.Journal;
import dev.postcopy.metrics.Outcome;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.Standing;
import java.io.UncheckedIOException;
import java.time.Duration;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * From the moment when QEMU has loaded the guest to the last count. The guest may belong here: a
 * link that breaks is followed by the next, and this side says what it has. For the session's
 * thread.
 */
final class DestinationHold {

  private static final Logger log = LoggerFactory.getLogger(DestinationHold.class);

  /** Memory, or room on a disk, that is scarce now is not asked for again at once. */
  private static final int SCARCE_MILLIS = 1000;

  /** How often QEMU is looked at while the source is away: a taken-up one has no monitor yet. */
  private static final int LOOK_MILLIS = 1000;

  private final DestinationConversation conversation;
  private final Reception reception;
  private final DestinationVm vm;
  private final FaultServing serving;
  private final QemuUserfaultfd userfaultfd;
  private final Journal<DestinationEntry> journal;
  private final Duration peerPatience;
  private DestinationEntry entry;
  private Committed committed;
  private @Nullable DestinationLink link;
  private ControlFrame.@Nullable Confirmed confirmed;

  /**
   * @param entry as it is in {@code journal}: LOADED or later
   * @param link the first link, where there is one
   */
  DestinationHold(
      DestinationConversation conversation,
      Reception reception,
      DestinationVm vm,
      FaultServing serving,
      QemuUserfaultfd userfaultfd,
      Journal<DestinationEntry> journal,
      Duration peerPatience,
      DestinationEntry entry,
      @Nullable DestinationLink link) {
    this.conversation = conversation;
    this.reception = reception;
    this.vm = vm;
    this.serving = serving;
    this.userfaultfd = userfaultfd;
    this.journal = journal;
    this.peerPatience = peerPatience;
    this.entry = entry;
    this.link = link;
    this.committed = Committed.prepare(journal, entry);
  }

  /** What the journal will hold of the commit: the guest stands still when it is written. */
  private record Committed(
      Journal.Prepared<DestinationEntry> running, Journal.Prepared<DestinationEntry> staying) {

    static Committed prepare(Journal<DestinationEntry> journal, DestinationEntry entry) {
      return new Committed(
          journal.prepare(entry.committed(true)), journal.prepare(entry.committed(false)));
    }
  }

  /** What {@link #run} begins with is loaded and linked: the guest does not stand still yet. */
  void rehearse() {
    log.debug("it begins in {}", standing());
  }

  /**
   * Returns when every page is here, and the source knows or cannot be reached.
   *
   * @return how it ended
   */
  Outcome run() throws MigrationFailedException {
    while (entry.state() != DestinationEntry.State.COMPLETED) {
      try {
        DestinationLink current = link == null ? reconnect() : link;
        switch (entry.state()) {
          case LOADED -> takeOver(current);
          case COMMITTED -> setGoing();
          case RUNNING -> drain(current);
          case LOADING, COMPLETED -> throw new IllegalStateException("nothing to do: " + entry);
        }
      } catch (LinkLostException e) {
        log.warn("{}; waiting for the source to come back", e.getMessage());
        if (e instanceof ScarceException) {
          sleep(SCARCE_MILLIS);
        }
        dropLink();
      } catch (SourceGaveUpException e) {
        goBack();
        throw e;
      }
    }
    return complete();
  }

  private DestinationLink reconnect() throws MigrationFailedException {
    DestinationLink next = null;
    while (next == null) {
      requireQemu();
      next = reception.awaitAgain(standing(), LOOK_MILLIS, this::goBack);
    }
    link = next;
    write(entry.withAttempt(next.attempt()));
    committed = Committed.prepare(journal, entry);
    requireQemu();
    serving.connectAgain(next);
    next.expectSignsOfLife(peerPatience);
    log.info("the source is back");
    return next;
  }

  private void requireQemu() throws MigrationFailedException {
    if (vm.hasExited()) {
      throw new MigrationFailedException(DestinationVm.GONE);
    }
  }

  /**
   * The source has the guest. Written before it hears that we know: it forgets the migration then,
   * and whoever takes this side up could ask nobody any more.
   *
   * @throws UncheckedIOException where it cannot be written: then it must not be said
   */
  private void goBack() {
    if (entry.state() == DestinationEntry.State.LOADED) {
      writeOrThrow(entry.in(DestinationEntry.State.LOADING));
    }
  }

  private Standing standing() {
    return switch (entry.state()) {
      case LOADING -> Standing.NEW;
      case LOADED -> Standing.LOADED;
      case COMMITTED, RUNNING -> Standing.COMMITTED;
      case COMPLETED -> Standing.COMPLETE;
    };
  }

  private void takeOver(DestinationLink current) throws MigrationFailedException {
    while (entry.state() == DestinationEntry.State.LOADED) {
      // No switch over patterns: the first run of one takes milliseconds, and the guest stands
      // still.
      DestinationEvent event = conversation.take();
      if (event instanceof DestinationEvent.Said(ControlFrame.Commit commit)) {
        try {
          if (commit.run()) {
            // Ahead of the journal, for which the guest need not wait: whoever finds LOADED there
            // asks the source.
            vm.cont();
          }
        } finally {
          write(commit.run() ? committed.running() : committed.staying());
          conversation.advanceTo(DestinationPhase.DRAINING);
        }
        awaitRunning();
        current.demand().send(new ControlFrame.Running());
        log.info("the guest {} here", commit.run() ? "runs" : "is, and stays paused,");
      } else {
        reception.handle(event);
      }
    }
  }

  /**
   * Lets the guest run, where it shall. Where the link breaks meanwhile, the next one comes first:
   * QEMU's monitor may be what waits for a page. Who runs already may be told so again.
   */
  private void setGoing() throws MigrationFailedException {
    if (entry.run()) {
      vm.cont();
    }
    awaitRunning();
  }

  /**
   * The event tells, not only the answer to the command: that may wait behind the guest's faults.
   */
  private void awaitRunning() throws MigrationFailedException {
    if (entry.run()) {
      for (DestinationEvent event = conversation.take();
          !isRunning(event);
          event = conversation.take()) {
        if (event instanceof DestinationEvent.NotContinued(String cause)) {
          throw new MigrationFailedException(
              vm.isEnding() ? DestinationVm.GONE : "QEMU does not let the guest run: " + cause);
        }
        reception.handle(event);
      }
    }
    write(entry.in(DestinationEntry.State.RUNNING));
  }

  private static boolean isRunning(DestinationEvent event) {
    return event instanceof DestinationEvent.Continued
        || (event instanceof DestinationEvent.QemuReported report
            && report.event().name().equals("RESUME"));
  }

  private void drain(DestinationLink current) throws MigrationFailedException {
    PageStates pages = serving.pages();
    ControlFrame.End end = null;
    while (end == null || !pages.isComplete()) {
      DestinationEvent event = conversation.take();
      if (event instanceof DestinationEvent.Said(ControlFrame.End said)) {
        end = said;
      } else {
        reception.handle(event);
      }
    }
    requireSameCounts(end, pages, current.attempt() > 0);
    noteCompleted();
    current.demand().send(new ControlFrame.Complete(serving.stats()));
  }

  /**
   * Before it is said: a source that has heard it never says again what is missing here. With an
   * older entry a page that is known to be zero, and was not placed, would be missing after a
   * crash.
   */
  private void noteCompleted() throws LinkLostException {
    try {
      writeOrThrow(entry.in(DestinationEntry.State.COMPLETED));
    } catch (UncheckedIOException e) {
      throw new ScarceException(String.valueOf(e.getMessage()));
    }
  }

  private void writeOrThrow(DestinationEntry next) {
    journal.write(next);
    entry = next;
  }

  /**
   * @param resumed a side that came back from a crash cannot tell how each page went: then only the
   *     sum is compared
   */
  private static void requireSameCounts(ControlFrame.End end, PageStates pages, boolean resumed)
      throws MigrationFailedException {
    boolean same =
        resumed
            ? end.dataPages() + end.zeroPages() == pages.pageCount()
            : end.dataPages() == pages.dataPages() && end.zeroPages() == pages.zeroPages();
    if (!same) {
      throw new MigrationFailedException(
          "the counts differ: sent %d + %d zero, received %d + %d zero"
              .formatted(end.dataPages(), end.zeroPages(), pages.dataPages(), pages.zeroPages()));
    }
  }

  private Outcome complete() {
    Confirmation confirmation = new Confirmation(conversation, reception, journal, entry, link);
    confirmation.await();
    confirmed = confirmation.confirmed();
    // Before the userfaultfd is closed that pages would be placed with.
    confirmation.close();
    serving.stop();
    vm.letGo(userfaultfd);
    if (confirmation.isLastWordHeard()) {
      journal.remove();
    } else {
      write(entry.letGo());
    }
    conversation.complete();
    return confirmation.outcome(serving);
  }

  /**
   * An entry that cannot be written here is older than the truth, and leads to the same end when it
   * is taken up: the source says COMMIT again, and what is here is found in the RAM files.
   */
  private void write(DestinationEntry next) {
    write(journal.prepare(next));
  }

  private void write(Journal.Prepared<DestinationEntry> next) {
    entry = next.entry();
    journal.writeOrWarn(next);
  }

  private void dropLink() {
    if (link != null) {
      link.close();
      link = null;
    }
    serving.disconnect();
  }

  private static void sleep(int millis) throws MigrationFailedException {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new MigrationFailedException("interrupted");
    }
  }

  /**
   * Ends in LOADED, with nothing from the source that says whose guest it is. A source that has not
   * committed takes ABORT for the last word, and would have nobody to tell later: it is said only
   * where no QEMU is left that could get the guest.
   */
  Outcome leaveInDoubt(String reason) {
    if (link != null) {
      if (vm.hasExited() && link.giveUp(reason)) {
        journal.remove();
      } else {
        link.close();
      }
    }
    return DestinationReport.inDoubt(reason, serving, confirmed);
  }

  /** The newest link, where there is one: for a last word, and to be closed. */
  @Nullable DestinationLink link() {
    return link;
  }

  /** What serves the faults. */
  FaultServing serving() {
    return serving;
  }

  /** How far it is. */
  DestinationEntry entry() {
    return entry;
  }

  /** What the source measured; null where it has not said so. */
  ControlFrame.@Nullable Confirmed confirmed() {
    return confirmed;
  }
}
