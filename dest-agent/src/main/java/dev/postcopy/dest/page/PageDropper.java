package dev.postcopy.dest.page;

import dev.postcopy.linux.RamFile;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.wire.ProtocolException;
import io.netty.buffer.ByteBuf;
import java.util.List;

/**
 * Drops pages that the source sent while its guest ran and has taken back: they are punched out of
 * the RAM file, which unmaps them from QEMU too, and are missing again. Owned by the bulk loop, on
 * which they came, and so behind every copy of them that was under way; but for {@link #end}.
 */
public final class PageDropper implements AutoCloseable {

  private static final int PAGE = RamLayout.PAGE_BYTES;

  /** A huge page of which a part is dropped is split first, which fails while somebody pins it. */
  private static final int ATTEMPTS = 1000;

  private final RamLayout layout;
  private final PageStates pages;
  private final List<RamFile> files;
  private volatile boolean ended;

  /**
   * @param files one for each block, writable; closed with this object
   */
  public PageDropper(RamLayout layout, PageStates pages, List<RamFile> files) {
    this.layout = layout;
    this.pages = pages;
    this.files = List.copyOf(files);
  }

  /**
   * Drops those of pages [first, first+count) whose bit is set.
   *
   * @param bits the lowest bit of the first byte for the first page
   * @throws PlacingFailedException where a page does not go
   */
  void drop(int first, int count, ByteBuf bits) {
    if (first >= layout.pageCount() || count > layout.pageCount() - first) {
      throw new ProtocolException("pages %d+%d are not in the guest's RAM".formatted(first, count));
    }
    int end = first + count;
    int page = first;
    while (page < end) {
      int runStart = next(page, first, end, bits, true);
      if (runStart == end) {
        return;
      }
      int blockEnd = layout.endPageOf(layout.blockOf(runStart));
      int runEnd = next(runStart, first, Math.min(end, blockEnd), bits, false);
      drop(runStart, runEnd);
      page = runEnd;
    }
  }

  private static int next(int from, int first, int end, ByteBuf bits, boolean wanted) {
    int page = from;
    while (page < end && isSet(page - first, bits) != wanted) {
      page++;
    }
    return page;
  }

  private static boolean isSet(int bit, ByteBuf bits) {
    return (bits.getByte(bits.readerIndex() + bit / 8) >> (bit % 8) & 1) != 0;
  }

  private void drop(int first, int end) {
    synchronized (pages) {
      if (ended) {
        throw new ProtocolException("DISCARD after LOADED");
      }
      punch(first, end);
      pages.forget(first, end - first);
    }
  }

  private void punch(int first, int end) {
    int block = layout.blockOf(first);
    RamFile file = files.get(block);
    long start = layout.byteOffsetInBlock(first, block);
    long byteLength = (long) (end - first) * PAGE;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      file.punch(start, byteLength);
      if (file.nextData(start) >= start + byteLength) {
        return;
      }
      Thread.onSpinWait();
    }
    throw new PlacingFailedException("pages %d-%d cannot be dropped".formatted(first, end), false);
  }

  /** Whether {@link #end} was called; asked for each batch, so without the lock of the faults. */
  public boolean isEnded() {
    return ended;
  }

  /** From here on the guest may be here, and nothing of its memory is dropped; for any thread. */
  public void end() {
    synchronized (pages) {
      ended = true;
    }
  }

  @Override
  public void close() {
    // No lambda: it would be linked while the guest stands still.
    for (RamFile file : files) {
      file.close();
    }
  }
}
