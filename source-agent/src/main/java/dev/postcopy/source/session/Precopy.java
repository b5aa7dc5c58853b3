package dev.postcopy.source.session;

import dev.postcopy.linux.HostRefusal;
import dev.postcopy.linux.LinuxException;
import dev.postcopy.memory.PageBitmap;
import dev.postcopy.metrics.MigrationProgress;
import dev.postcopy.metrics.MigrationReport;
import dev.postcopy.source.page.SentPages;
import dev.postcopy.source.precopy.DirtyTracker;
import dev.postcopy.source.precopy.Round;
import dev.postcopy.source.precopy.RoundLog;
import dev.postcopy.source.precopy.SwitchDecision;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Sends memory ahead while the guest runs, and sees to it that no page is old at the destination
 * when the guest goes over. For the session's thread.
 *
 * <p>The order that this rests on: a page is write-protected and told by one scan, only then read
 * and sent, and every page that a scan tells is taken back if it was sent before that scan was
 * heard of. So whatever is written behind the protection is told by a later scan, the last of which
 * comes when the guest has stopped. docs/decisions.md has it in full.
 */
final class Precopy implements AutoCloseable {

  private static final Logger log = LoggerFactory.getLogger(Precopy.class);

  private static final int PROGRESS_MILLIS = 100;

  private final SourceVm vm;
  private final SourceConversation conversation;
  private final SourceLink link;
  private final SentPages sent;
  private final PrecopyOptions options;
  private final SwitchDecision decision;
  private final ProgressListener progress;
  private final DirtyTracker tracker;
  private final boolean holesMayCome;
  private final RoundLog rounds = new RoundLog();
  private PageBitmap written;
  private long bytesAhead;
  private int pagesTakenBackAtStop;
  private int turn;
  private boolean isOpen = true;

  private Precopy(
      SourceVm vm,
      SourceConversation conversation,
      SourceLink link,
      SentPages sent,
      PrecopyOptions options,
      ProgressListener progress,
      DirtyTracker tracker) {
    this.vm = vm;
    this.conversation = conversation;
    this.link = link;
    this.sent = sent;
    this.options = options;
    this.decision = new SwitchDecision(options.mode(), options.downtimeLimit());
    this.progress = progress;
    this.tracker = tracker;
    this.holesMayCome = vm.mayDiscardMemory();
    this.written = new PageBitmap(sent.pageCount());
  }

  /**
   * Begins to watch the guest's writes.
   *
   * @throws HostRefusal where that cannot be; nothing is left behind
   */
  static Precopy start(
      SourceVm vm,
      SourceConversation conversation,
      SourceLink link,
      SentPages sent,
      PrecopyOptions options,
      ProgressListener progress) {
    sent.rememberZeros();
    return new Precopy(vm, conversation, link, sent, options, progress, vm.watchWrites());
  }

  /** Returns when the guest may go over. */
  void run() throws MigrationFailedException {
    long switchNanos =
        options.switchAfterMillis().isPresent()
            ? System.nanoTime()
                + TimeUnit.MILLISECONDS.toNanos(options.switchAfterMillis().getAsInt())
            : Long.MAX_VALUE;
    log.info("memory goes ahead");
    // Nothing was sent: what is told is protected now, and that is all.
    scan();
    vm.drainBlockRequests();
    for (int number = 1; ; number++) {
      long startNanos = System.nanoTime();
      long bytesBefore = link.pages().bytesSent();
      link.pages().startRound(++turn);
      if (!awaitSettled(switchNanos)) {
        log.info("going over in the middle of round {}", number);
        return;
      }
      long nanos = System.nanoTime() - startNanos;
      long bytes = link.pages().bytesSent() - bytesBefore;
      int pages = takeBackWritten();
      Round round = new Round(number, bytes, nanos, pages);
      rounds.add(round);
      log.info(
          "round {}: {} KiB in {} ms; {} pages were written to",
          number,
          bytes >> 10,
          nanos / 1_000_000,
          pages);
      if (!awaitSettled(switchNanos) || decision.isEnough(round)) {
        return;
      }
    }
  }

  /** Takes back what was written to since the last scan. */
  private int takeBackWritten() throws MigrationFailedException {
    scan();
    // Behind the scan: a disk request from before it may write to a page that it protected, past
    // the protection. When such a page is taken back, and so before it is read again, that is over.
    vm.drainBlockRequests();
    return link.pages().takeBack(written, ++turn);
  }

  private void scan() throws MigrationFailedException {
    try {
      written.clearAll();
      tracker.takeWritten(written);
    } catch (HostRefusal | LinuxException e) {
      throw new MigrationFailedException(String.valueOf(e.getMessage()));
    }
  }

  /** Returns whether the push settled in time. */
  private boolean awaitSettled(long deadlineNanos) throws MigrationFailedException {
    while (true) {
      long leftMillis = TimeUnit.NANOSECONDS.toMillis(deadlineNanos - System.nanoTime());
      if (leftMillis <= 0) {
        return false;
      }
      SourceEvent event = conversation.poll(Math.min(leftMillis, PROGRESS_MILLIS));
      reportProgress();
      if (event != null && isSettled(event)) {
        return true;
      }
      if (event != null) {
        conversation.unexpected(event);
      }
    }
  }

  private void reportProgress() {
    bytesAhead = link.pages().bytesSent();
    progress.onProgress(
        new MigrationProgress(
            conversation.phase().name(),
            sent.pageCount(),
            SourceReport.counts(sent),
            bytesAhead,
            0,
            link.pages().roundTripMicros(),
            link.pages().windowBytes(),
            0));
  }

  /** Whether {@code event} answers the last thing that was asked for. */
  boolean isSettled(SourceEvent event) {
    return event instanceof SourceEvent.Settled(int settled) && settled == turn;
  }

  /**
   * The guest has stopped, and nothing writes to its memory any more: takes back what was written
   * last. When this returns nothing that the bulk connection is given reaches the destination
   * before it has dropped those pages; that it has, {@link #isSettled} tells.
   */
  void takeBackLast() throws MigrationFailedException {
    link.pages().rest();
    scan();
    if (holesMayCome) {
      // A balloon's pages read as zeros from then on, and nobody wrote that: no scan tells them.
      vm.memory().forEachHole((first, count) -> sent.addSentWithContent(first, count, written));
    }
    int pages = link.pages().takeBack(written, ++turn);
    pagesTakenBackAtStop = pages;
    log.info("{} pages were written to before the guest stopped", pages);
    // What was written last is wanted first.
    PageBitmap last = written;
    written = new PageBitmap(0);
    link.pages().prefer(last);
  }

  /** Whether all that is left may go across before the guest goes on. */
  boolean fitsDowntime() {
    return decision.fitsDowntime(sent.pageCount() - sent.dataPages() - sent.zeroPages());
  }

  /** What {@link #fitsDowntime} asks about, in nanoseconds. */
  long downtimeLimitNanos() {
    return options.downtimeLimit().toNanos();
  }

  /** What went ahead so far. */
  MigrationReport.Precopy report() {
    return new MigrationReport.Precopy(
        rounds.list().stream()
            .map(
                round ->
                    new MigrationReport.Round(
                        round.number(),
                        round.bytesSent(),
                        TimeUnit.NANOSECONDS.toMicros(round.nanos()),
                        round.pagesWritten()))
            .toList(),
        bytesAhead,
        pagesTakenBackAtStop);
  }

  /** Watches no more. */
  @Override
  public void close() {
    if (isOpen) {
      isOpen = false;
      tracker.close();
    }
  }
}
