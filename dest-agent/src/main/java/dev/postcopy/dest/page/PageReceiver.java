package dev.postcopy.dest.page;

import dev.postcopy.memory.RamLayout;
import dev.postcopy.wire.ProtocolException;
import io.netty.buffer.ByteBuf;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Takes the pages that one connection brings: checks that a run lies within the guest's RAM, places
 * what has content straight from the receive buffer, remembers what is zero. Owned by its
 * connection's event loop.
 */
public final class PageReceiver {

  private final RamLayout layout;
  private final PageStates pages;
  private final PagePlacer placer;
  private final boolean bringsAnswers;
  private long frames;
  private final AtomicInteger newPages = new AtomicInteger();

  private PageReceiver(
      RamLayout layout, PageStates pages, PagePlacer placer, boolean bringsAnswers) {
    this.layout = layout;
    this.pages = pages;
    this.placer = placer;
    this.bringsAnswers = bringsAnswers;
  }

  /** For the connection that brings what was asked for, or will be in a moment. */
  public static PageReceiver ofAnswers(RamLayout layout, PageStates pages, PagePlacer placer) {
    return new PageReceiver(layout, pages, placer, true);
  }

  /** For the connection that brings what nobody waits for, as far as the source knows. */
  public static PageReceiver ofPushes(RamLayout layout, PageStates pages, PagePlacer placer) {
    return new PageReceiver(layout, pages, placer, false);
  }

  /** The content of pages [first, first+count). */
  public void onPages(int first, int count, ByteBuf content) {
    requireRun(first, count);
    for (int page = first; page < first + count; page++) {
      if (pages.isKnownZero(page)) {
        throw new ProtocolException("page " + page + " has content after it was zero");
      }
    }
    int placed = placer.place(first, count, content.memoryAddress() + content.readerIndex());
    newPages.addAndGet(placed);
    pages.countDuplicates(count - placed);
    frames++;
  }

  /**
   * Pages [first, first+count) are zero. They stay holes; only for a page that somebody waits for a
   * zero page is placed, because nothing else lets its thread go on. It is for an answer as well,
   * which is one page: what QEMU reads while it loads is sent before it is asked for.
   */
  public void onZero(int first, int count) {
    requireRun(first, count);
    int end = first + count;
    if (!pages.isFoundPresent()) {
      requireNoContent(first, end);
    }
    // Published before the requests are looked at: the requester does it the other way round.
    pages.publishZero(first, count);
    boolean answer = bringsAnswers && count == 1;
    for (int page = answer ? first : pages.nextRequested(first, end);
        page < end;
        page = pages.nextRequested(page + 1, end)) {
      if (!pages.isReceived(page)) {
        placer.placeZero(page);
      }
    }
    frames++;
  }

  /**
   * Those of pages [first, first+count) whose bit is set are missing again.
   *
   * @param dropper the calling loop's own
   */
  public void onDiscard(int first, int count, ByteBuf bits, PageDropper dropper) {
    dropper.drop(first, count, bits);
    frames++;
  }

  /** Page frames that were dealt with on this connection so far. */
  public long frames() {
    return frames;
  }

  /** Distinct pages with content that this connection brought first. */
  public int newPages() {
    return newPages.get();
  }

  /** A page that came with content cannot have become zero: the source stands still. */
  private void requireNoContent(int first, int end) {
    int page = pages.nextReceived(first, end);
    while (page < end) {
      if (!pages.isKnownZero(page)) {
        throw new ProtocolException("page " + page + " is zero after it had content");
      }
      page = pages.nextReceived(page + 1, end);
    }
  }

  private void requireRun(int first, int count) {
    if (!layout.isRunInOneBlock(first, count)) {
      throw new ProtocolException("pages %d+%d are not in the guest's RAM".formatted(first, count));
    }
  }
}
