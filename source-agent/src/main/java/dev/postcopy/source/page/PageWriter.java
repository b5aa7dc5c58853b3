package dev.postcopy.source.page;

import dev.postcopy.linux.Residency;
import dev.postcopy.source.memory.GuestMemory;
import dev.postcopy.transport.Connection;
import dev.postcopy.wire.FrameWriter;
import io.netty.buffer.ByteBuf;

/**
 * Puts pages on one connection, and is the one place that claims them: before a page is written its
 * bit is set, so that the two writers of a migration send it once. Owned by its connection's event
 * loop.
 */
final class PageWriter {

  private final GuestMemory memory;
  private final SentPages sent;
  private final Connection connection;
  private final Residency residency = new Residency();

  PageWriter(GuestMemory memory, SentPages sent, Connection connection) {
    this.memory = memory;
    this.sent = sent;
    this.connection = connection;
  }

  /**
   * Answers a request for one page on the demand connection.
   *
   * <p>A page that bulk has claimed is sent again unless it was acknowledged: its first copy may
   * wait behind much else. What this connection sent needs no second answer, it arrives in order;
   * such a page counts as acknowledged at once.
   */
  void answer(int page) {
    boolean first = sent.claim(page);
    if (!first && sent.isAcknowledged(page)) {
      return;
    }
    sent.acknowledge(page, 1);
    boolean zero = contentRun(page, 1) == 0 || memory.isZero(page);
    if (!first) {
      sent.countResent(1);
    } else if (zero) {
      sent.countZero(page, 1, 1);
    } else {
      sent.countDemand(1);
    }
    connection.write(zero ? connection.writer().zero(page, 1) : pages(page, 1));
  }

  /** How many pages from {@code first} on have content, {@code limit} at the most; 0: a hole. */
  int contentRun(int first, int limit) {
    return memory.contentRun(first, limit, residency);
  }

  /** Announces [first, first+count), a hole of one block, as zero. */
  void pushHole(int first, int count) {
    sent.countZero(first, count, sent.claimRange(first, count));
    connection.write(connection.writer().zero(first, count));
  }

  /**
   * Claims and writes the run of pages that starts at {@code first} (unclaimed, not a hole): either
   * zero pages or pages with content, as the first one is, up to a page of the other kind, a page
   * that is claimed, or {@code end}.
   *
   * @return how many pages were written, 0 where the other writer was faster
   */
  int pushRun(int first, int end) {
    boolean zero = memory.isZero(first);
    int page = first;
    while (page < end && (page == first || memory.isZero(page) == zero) && sent.claim(page)) {
      page++;
    }
    int count = page - first;
    if (count == 0) {
      return 0;
    }
    if (zero) {
      sent.countZero(first, count, count);
      connection.write(connection.writer().zero(first, count));
    } else {
      sent.countPushed(count);
      connection.write(pages(first, count));
    }
    return count;
  }

  private ByteBuf pages(int first, int count) {
    FrameWriter writer = connection.writer();
    ByteBuf frame = writer.beginPages(first, count);
    memory.copyTo(frame, first, count);
    return writer.seal(frame);
  }
}
