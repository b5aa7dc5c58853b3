package dev.postcopy.source.page;

import dev.postcopy.memory.PageBitmap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * What the source knows of each page: claimed by one of its two writers, and acknowledged by the
 * destination. Shared by the demand loop and the bulk loop.
 *
 * <p>Claimed means that a writer has taken it upon itself to send the page, not that it arrived.
 */
public final class SentPages {

  private final PageBitmap claimed;
  private final PageBitmap acknowledged;
  private @Nullable PageBitmap announcedZero;
  private volatile int lastFault;
  private final AtomicLong faults = new AtomicLong();
  private final AtomicInteger demandPages = new AtomicInteger();
  private final AtomicInteger pushedPages = new AtomicInteger();
  private final AtomicInteger zeroPages = new AtomicInteger();
  private final AtomicInteger resentPages = new AtomicInteger();

  public SentPages(int pageCount) {
    claimed = new PageBitmap(pageCount);
    acknowledged = new PageBitmap(pageCount);
  }

  /** Pages may be taken back, which needs to be known of them what they were sent as. */
  public void rememberZeros() {
    announcedZero = new PageBitmap(claimed.pageCount());
  }

  /**
   * Counts pages [first, first+count) of which {@code newlyClaimed} were claimed just now, all or
   * none where pages may be taken back, as announced to be zero.
   */
  void countZero(int first, int count, int newlyClaimed) {
    if (announcedZero != null && newlyClaimed > 0) {
      announcedZero.setRange(first, count);
    }
    zeroPages.addAndGet(newlyClaimed);
  }

  /**
   * Makes a page that was pushed one that was not; before the first request is answered, on the
   * bulk loop.
   *
   * @return whether it was claimed
   */
  boolean takeBack(int page) {
    if (!claimed.clear(page)) {
      return false;
    }
    if (announcedZero != null && announcedZero.clear(page)) {
      zeroPages.decrementAndGet();
    } else {
      pushedPages.decrementAndGet();
    }
    return true;
  }

  /** Adds those of pages [first, first+count) to {@code to} that were sent with content. */
  public void addSentWithContent(int first, int count, PageBitmap to) {
    if (announcedZero == null) {
      throw new IllegalStateException("what pages were sent as is not known");
    }
    int end = first + count;
    for (int page = announcedZero.nextClear(first, end);
        page < end;
        page = announcedZero.nextClear(page + 1, end)) {
      if (claimed.get(page)) {
        to.set(page);
      }
    }
  }

  /**
   * The destination has dealt with everything that was sent: what is claimed is acknowledged, and
   * nothing else. While nobody claims.
   */
  void settle() {
    acknowledged.copyFrom(claimed);
  }

  /**
   * How far the hole of pages [first, end) may be announced as one: where pages may be taken back,
   * a page in it may have been sent with content before it became a hole.
   */
  int endOfHole(int first, int end) {
    return announcedZero == null ? end : claimed.nextSet(first, end);
  }

  /** True for exactly one caller per page. */
  boolean claim(int page) {
    return claimed.set(page);
  }

  /** Claims all of [first, first+count) that is free; returns how many pages that were. */
  int claimRange(int first, int count) {
    return claimed.setRange(first, count);
  }

  int nextUnclaimed(int from) {
    return claimed.nextClear(from);
  }

  /** The first page in [from, end) that is not claimed, or {@code end}. */
  int nextUnclaimed(int from, int end) {
    return claimed.nextClear(from, end);
  }

  /**
   * The end of the shortest stretch of pages from {@code first} on that has {@code count} pages of
   * {@code among} that are not claimed, or of all pages.
   */
  public int endOfUnclaimed(int first, int count, PageBitmap among) {
    int found = 0;
    int page = among.nextSet(first);
    while (page < pageCount()) {
      if (!claimed.get(page) && ++found == count) {
        return page + 1;
      }
      page = among.nextSet(page + 1);
    }
    return pageCount();
  }

  boolean isClaimed(int page) {
    return claimed.get(page);
  }

  void acknowledge(int first, int count) {
    acknowledged.setRange(first, count);
  }

  boolean isAcknowledged(int page) {
    return acknowledged.get(page);
  }

  /**
   * Begins anew with what the destination has: all else counts as not sent, whatever was claimed.
   * Not while a writer is at work.
   *
   * @param data pages of {@code received} that have content
   * @param zero pages of {@code received} that are known to be zero
   */
  public void restart(PageBitmap received, int data, int zero) {
    claimed.copyFrom(received);
    acknowledged.copyFrom(received);
    zeroPages.set(zero);
    demandPages.set(Math.min(demandPages.get(), data));
    pushedPages.set(data - demandPages.get());
  }

  /** Somebody at the destination waits for {@code page}. */
  void noteFault(int page) {
    lastFault = page;
    faults.incrementAndGet();
  }

  /** The page that was asked for last; 0 before any was. */
  int lastFault() {
    return lastFault;
  }

  /** Requests that came because somebody at the destination waited. */
  public long faults() {
    return faults.get();
  }

  void countDemand(int pages) {
    demandPages.addAndGet(pages);
  }

  void countPushed(int pages) {
    pushedPages.addAndGet(pages);
  }

  void countResent(int pages) {
    resentPages.addAndGet(pages);
  }

  /** Pages whose content was first sent as the answer to a request. */
  public int demandPages() {
    return demandPages.get();
  }

  /** Pages whose content was first sent because it was their turn. */
  public int pushedPages() {
    return pushedPages.get();
  }

  /** Distinct pages sent with content. */
  public int dataPages() {
    return demandPages.get() + pushedPages.get();
  }

  /** Distinct pages announced as zero. */
  public int zeroPages() {
    return zeroPages.get();
  }

  /** Pages sent again on the demand connection while their first copy was on its way. */
  public int resentPages() {
    return resentPages.get();
  }

  /** Whether every page was sent or announced, and counted: then the counts are final. */
  public boolean isAllCounted() {
    return dataPages() + zeroPages() == pageCount();
  }

  public int pageCount() {
    return claimed.pageCount();
  }
}
