package dev.postcopy.dest.page;

import dev.postcopy.memory.PageBitmap;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * What the destination knows of each page. Shared by the demand loop and the bulk loop; every
 * setter is a full barrier.
 *
 * <p>A page is <em>missing</em> until it is <em>known zero</em> (announced, not necessarily placed)
 * or <em>received</em> (placed, so that it was present at least once). A page that a thread of QEMU
 * faulted on is <em>requested</em> too.
 *
 * <p>Before the guest is here the source may take pages back, and they are missing again. Who drops
 * a page, and who looks at a page's state because of a fault and then acts on it, holds this
 * object's monitor: a page that was known a moment ago must not be placed as zero behind its drop.
 */
public final class PageStates {

  private final PageBitmap received;
  private final PageBitmap knownZero;
  private final PageBitmap requested;
  private volatile boolean foundPresent;
  private final AtomicInteger dataPages = new AtomicInteger();
  private final AtomicInteger zeroPages = new AtomicInteger();
  private final AtomicInteger duplicatePages = new AtomicInteger();

  public PageStates(int pageCount) {
    received = new PageBitmap(pageCount);
    knownZero = new PageBitmap(pageCount);
    requested = new PageBitmap(pageCount);
  }

  /** Publishes that pages [first, first+count) are present; returns how many were new. */
  int publishReceived(int first, int count) {
    int newPages = 0;
    for (int page = first; page < first + count; page++) {
      if (received.set(page)) {
        newPages++;
        if (!knownZero.get(page)) {
          dataPages.incrementAndGet();
        }
      }
    }
    return newPages;
  }

  /**
   * Notes that [first, first+count) was found present, in RAM that an agent left behind. What was
   * known to be zero is not known any more then, and what was placed as zero looks like content.
   */
  public void addPresent(int first, int count) {
    dataPages.addAndGet(received.setRange(first, count));
    foundPresent = true;
  }

  /** Whether some pages were found present: then a page that is zero may seem to have content. */
  boolean isFoundPresent() {
    return foundPresent;
  }

  /** Publishes that pages [first, first+count) are zero at the source. */
  void publishZero(int first, int count) {
    if (!foundPresent) {
      zeroPages.addAndGet(knownZero.setRange(first, count));
      return;
    }
    // A zero page that was placed for somebody before the crash was found present, and counted.
    for (int page = first; page < first + count; page++) {
      if (!received.get(page) && knownZero.set(page)) {
        zeroPages.incrementAndGet();
      }
    }
  }

  /**
   * Notes that [first, first+count), what is known of them, are missing again; a thread that waits
   * for one of them later is the first that does.
   */
  void forget(int first, int count) {
    for (int page = first; page < first + count; page++) {
      boolean zero = knownZero.clear(page);
      boolean placed = received.clear(page);
      if (zero) {
        zeroPages.decrementAndGet();
      } else if (placed) {
        dataPages.decrementAndGet();
      }
      if (zero || placed) {
        requested.clear(page);
      }
    }
  }

  void countDuplicates(int pages) {
    duplicatePages.addAndGet(pages);
  }

  /** Marks {@code page} as asked for; true for the first who does. */
  public boolean markRequested(int page) {
    return requested.set(page);
  }

  /** Whether the page was placed before. */
  public boolean isReceived(int page) {
    return received.get(page);
  }

  /** Whether the page's content is known here: it was placed, or it is zero. */
  public boolean isKnown(int page) {
    return received.get(page) || knownZero.get(page);
  }

  /**
   * {@link #isKnown} of pages [first, first+64), a bit for each, the lowest for the first.
   *
   * @param first a multiple of 64
   */
  public long known(int first) {
    return received.word(first) | knownZero.word(first);
  }

  /** How many pages there are. */
  public int pageCount() {
    return received.pageCount();
  }

  /** Whether the page was announced as zero. */
  public boolean isKnownZero(int page) {
    return knownZero.get(page);
  }

  /** The first page in [from, end) that was asked for, or {@code end}. */
  public int nextRequested(int from, int end) {
    return requested.nextSet(from, end);
  }

  /** The first page in [from, end) that was not placed yet, or {@code end}. */
  int nextNotReceived(int from, int end) {
    return received.nextClear(from, end);
  }

  /** The first page in [from, end) that was placed, or {@code end}. */
  int nextReceived(int from, int end) {
    return received.nextSet(from, end);
  }

  /** Whether every page is known here. */
  public boolean isComplete() {
    return dataPages.get() + zeroPages.get() == received.pageCount();
  }

  /** Distinct pages that came with content. */
  public int dataPages() {
    return dataPages.get();
  }

  /** Distinct pages that were announced as zero. */
  public int zeroPages() {
    return zeroPages.get();
  }

  /** Pages that came although they were here. */
  public int duplicatePages() {
    return duplicatePages.get();
  }
}
