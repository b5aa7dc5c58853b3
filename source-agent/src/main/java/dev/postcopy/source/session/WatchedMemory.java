package dev.postcopy.source.session;

import dev.postcopy.linux.HostRefusal;
import dev.postcopy.linux.LinuxException;
import dev.postcopy.memory.PageBitmap;
import dev.postcopy.source.precopy.DirtyTracker;

/**
 * The guest's memory while it runs and pages of it go ahead: protects what is to be sent, and takes
 * back what was written to since. For the session's thread.
 */
final class WatchedMemory implements AutoCloseable {

  /** For one look: what it finds is dropped between two pushed frames, not for milliseconds. */
  private static final int PAGES_AT_ONCE = 8192;

  private final SourceVm vm;
  private final PageServing pages;
  private final DirtyTracker tracker;
  private final int pageCount;
  private final PageBitmap seen;

  /** No bit is set between two calls. */
  private PageBitmap written;

  private int lookedAt;

  private WatchedMemory(SourceVm vm, PageServing pages, DirtyTracker tracker) {
    this.vm = vm;
    this.pages = pages;
    this.tracker = tracker;
    this.pageCount = vm.memory().layout().pageCount();
    this.seen = new PageBitmap(pageCount);
    this.written = new PageBitmap(pageCount);
  }

  /**
   * Begins to watch the guest's writes.
   *
   * @throws HostRefusal where that cannot be; nothing is left behind
   */
  static WatchedMemory watch(SourceVm vm, PageServing pages) {
    return new WatchedMemory(vm, pages, vm.watchWrites());
  }

  /** The pages with content, as far as that is known: those that were told and were no holes. */
  PageBitmap seen() {
    return seen;
  }

  /** Protects all pages, of which nothing was sent yet. */
  void protectAll() throws MigrationFailedException {
    protect(0, pageCount);
    // An empty slot of a page table is told, too.
    vm.memory().forEachHole(seen::clearRange);
  }

  /**
   * Protects pages [first, end), and takes those back that were written to since they were
   * protected last. From here on they may be read.
   *
   * @return how many were taken back
   */
  int protect(int first, int end) throws MigrationFailedException {
    if (first == end) {
      return 0;
    }
    scan(() -> tracker.takeWritten(first, end, written));
    seen.addAll(written, first, end);
    // Behind the scan: a disk request from before it may write to a page that it protected, past
    // the protection. When such a page is taken back, and so before it is read again, that is over.
    vm.drainBlockRequests();
    return takeBack(first, end);
  }

  /** Sets just those bits of {@code to} for which a page of [first, end) is not protected. */
  void findWritten(int first, int end, PageBitmap to) throws MigrationFailedException {
    to.clearAll();
    scan(() -> tracker.findWritten(first, end, to));
  }

  /** A round over all pages begins. */
  void startRound() {
    lookedAt = 0;
  }

  /**
   * Takes back some of the pages before {@code end} that were written to since they were sent,
   * going on where it last was. They stay without protection: nothing of them may be sent before
   * they are protected again, so {@code end} is not beyond where the round is.
   *
   * @return how many were taken back
   */
  int takeBackSomeBefore(int end) throws MigrationFailedException {
    int first = lookedAt < end ? lookedAt : 0;
    int last = first + Math.min(end - first, PAGES_AT_ONCE);
    lookedAt = last;
    if (first == last) {
      return 0;
    }
    scan(() -> tracker.findWritten(first, last, written));
    return takeBack(first, last);
  }

  private int takeBack(int first, int end) throws MigrationFailedException {
    int taken = pages.takeBack(written, first, end);
    written.clearRange(first, end - first);
    return taken;
  }

  /**
   * The guest has stopped: what was written to since it was protected last. Not to be asked for
   * anything afterwards.
   */
  PageBitmap takeLast() throws MigrationFailedException {
    PageBitmap last = written;
    scan(() -> tracker.takeWritten(0, pageCount, last));
    written = new PageBitmap(0);
    return last;
  }

  private static void scan(Runnable scan) throws MigrationFailedException {
    try {
      scan.run();
    } catch (HostRefusal | LinuxException e) {
      throw new MigrationFailedException(String.valueOf(e.getMessage()));
    }
  }

  /** Watches no more. */
  @Override
  public void close() {
    tracker.close();
  }
}
