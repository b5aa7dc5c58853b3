package dev.postcopy.source.session;

import dev.postcopy.linux.HostRefusal;
import dev.postcopy.memory.PageBitmap;
import dev.postcopy.metrics.MigrationProgress;
import dev.postcopy.metrics.MigrationReport;
import dev.postcopy.source.page.SentPages;
import dev.postcopy.source.precopy.Round;
import dev.postcopy.source.precopy.RoundLog;
import dev.postcopy.source.precopy.StretchLength;
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
 * comes when the guest has stopped. What a look without protection finds is taken back as well, and
 * only where nothing is sent before the next scan. docs/decisions.md has it in full.
 */
final class Precopy implements AutoCloseable {

  private static final Logger log = LoggerFactory.getLogger(Precopy.class);

  private static final int PROGRESS_MILLIS = 100;

  /** How long between two looks at some of what was sent: so that little is found at a time. */
  private static final long LOOK_NANOS = TimeUnit.MILLISECONDS.toNanos(5);

  private final SourceVm vm;
  private final SourceConversation conversation;
  private final SourceLink link;
  private final SentPages sent;
  private final PrecopyOptions options;
  private final SwitchDecision decision;
  private final ProgressListener progress;
  private final WatchedMemory watched;
  private final boolean holesMayCome;
  private final RoundLog rounds = new RoundLog();
  private final StretchLength stretchLength = new StretchLength();

  /** Pages that are left out of the stretch that is being pushed. */
  private final PageBitmap notNow;

  private long bytesAhead;
  private long reportedNanos = System.nanoTime();
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
      boolean holesMayCome,
      WatchedMemory watched) {
    this.vm = vm;
    this.conversation = conversation;
    this.link = link;
    this.sent = sent;
    this.options = options;
    this.decision = new SwitchDecision(options.mode(), options.downtimeLimit());
    this.progress = progress;
    this.watched = watched;
    this.holesMayCome = holesMayCome;
    this.notNow = new PageBitmap(sent.pageCount());
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
    // All that may fail comes before the watch, which nobody would let go of.
    boolean holesMayCome = vm.mayDiscardMemory();
    return new Precopy(
        vm,
        conversation,
        link,
        sent,
        options,
        progress,
        holesMayCome,
        WatchedMemory.watch(vm, link.pages()));
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
    watched.protectAll();
    for (int number = 1; ; number++) {
      long startNanos = System.nanoTime();
      long bytesBefore = link.pages().bytesSent();
      if (!push(switchNanos)) {
        log.info("going over in the middle of round {}", number);
        return;
      }
      long nanos = System.nanoTime() - startNanos;
      long bytes = link.pages().bytesSent() - bytesBefore;
      watched.protect(0, sent.pageCount());
      link.pages().rest(++turn);
      Round round = new Round(number, bytes, nanos, pagesLeft());
      rounds.add(round);
      log.info(
          "round {}: {} KiB in {} ms; {} pages were written to",
          number,
          bytes >> 10,
          nanos / 1_000_000,
          round.pagesWritten());
      if (!awaitSettled(switchNanos) || decision.isEnough(round)) {
        return;
      }
    }
  }

  /**
   * Pushes in stretches what was not pushed yet. Behind the first each is protected while the one
   * before it is pushed, and a page that is written to in this short time is left out: it would be
   * old before the round is over.
   *
   * @return whether it was done in time
   */
  private boolean push(long deadlineNanos) throws MigrationFailedException {
    watched.startRound();
    notNow.clearAll();
    int first = 0;
    int end = endOfStretch(first);
    while (true) {
      long startNanos = System.nanoTime();
      int pagesBefore = sent.dataPages();
      link.pages().startStretch(first, end, notNow, ++turn);
      int nextEnd = endOfStretch(end);
      int takenBack = watched.protect(end, nextEnd);
      while (!awaitSettled(Math.min(deadlineNanos, System.nanoTime() + LOOK_NANOS))) {
        if (System.nanoTime() - deadlineNanos >= 0) {
          return false;
        }
        takenBack += watched.takeBackSomeBefore(first);
      }
      int pushed = sent.dataPages() - pagesBefore + takenBack;
      stretchLength.onPushed(pushed, System.nanoTime() - startNanos);
      if (end == nextEnd) {
        return true;
      }
      first = end;
      end = nextEnd;
      watched.findWritten(first, end, notNow);
    }
  }

  private int endOfStretch(int first) {
    return sent.endOfUnclaimed(first, stretchLength.pages(), watched.seen());
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
    long nowNanos = System.nanoTime();
    if (nowNanos - reportedNanos < TimeUnit.MILLISECONDS.toNanos(PROGRESS_MILLIS)) {
      return;
    }
    reportedNanos = nowNanos;
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
    PageBitmap last = watched.takeLast();
    if (holesMayCome) {
      // A balloon's pages read as zeros from then on, and nobody wrote that: no scan tells them.
      vm.memory().forEachHole((first, count) -> sent.addSentWithContent(first, count, last));
    }
    int pages = link.pages().takeBack(last, 0, sent.pageCount());
    link.pages().rest(++turn);
    pagesTakenBackAtStop = pages;
    log.info("{} pages were written to before the guest stopped", pages);
    // What was written last is wanted first.
    link.pages().prefer(last);
  }

  /** Whether all that is left may go across before the guest goes on. */
  boolean fitsDowntime() {
    return decision.fitsDowntime(pagesLeft());
  }

  private int pagesLeft() {
    return sent.pageCount() - sent.dataPages() - sent.zeroPages();
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
      watched.close();
    }
  }
}
