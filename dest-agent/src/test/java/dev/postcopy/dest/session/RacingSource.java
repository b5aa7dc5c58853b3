package dev.postcopy.dest.session;

import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.memory.PageBitmap;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.FrameSink;
import io.netty.buffer.ByteBuf;
import io.netty.channel.IoEventLoopGroup;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayDeque;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Stands in for the source, and behaves as badly as a source may: it answers a request on the
 * demand connection, on the bulk connection, or on both at once, while pages that nobody asked for
 * come on bulk. A request for a page that was acknowledged is ignored, as a source does; and so is
 * every other request for a page that bulk has, acknowledged or not. Nothing is lost by that as
 * long as the destination wakes whoever waits when a page comes, whether or not it asked.
 */
final class RacingSource {

  /** What every 8-byte word of a page is. A page of zeros is announced, not sent. */
  @FunctionalInterface
  interface Content {
    long wordOf(int page);

    default boolean isZero(int page) {
      return wordOf(page) == 0;
    }
  }

  private static final int LONGEST_RUN = 4;
  private static final int PAGES_PER_PUSH = 4;
  private static final int PUSHES_AT_START = 32;

  private final int pageCount;
  private final Content content;
  private final PageBitmap pushed;
  private final PageBitmap acknowledged;
  private final AtomicLong contentPages = new AtomicLong();
  private final AtomicLong discardedRequests = new AtomicLong();
  private final DemandPeer demandPeer;
  private final BulkPeer bulkPeer;
  private final Connection demand;
  private final Connection bulk;
  private final Connection demandHere;
  private final Connection bulkHere;

  /** Connects; the ends of the destination are {@link #demand} and {@link #bulk}. */
  RacingSource(IoEventLoopGroup loops, int pageCount, Content content, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    this.pageCount = pageCount;
    this.content = content;
    this.pushed = new PageBitmap(pageCount);
    this.acknowledged = new PageBitmap(pageCount);
    this.demandPeer = new DemandPeer(random.split());
    this.bulkPeer = new BulkPeer(random.nextInt(pageCount));
    SocketPair demandPair = UnixSockets.socketPair();
    SocketPair bulkPair = UnixSockets.socketPair();
    demand = Transport.adopt(loops.next(), demandPair.first().release(), made -> cause -> {});
    bulk = Transport.adopt(loops.next(), bulkPair.first().release(), made -> cause -> {});
    demandHere = Transport.adopt(loops.next(), demandPair.second().release(), made -> demandPeer);
    bulkHere = Transport.adopt(loops.next(), bulkPair.second().release(), made -> bulkPeer);
  }

  /** The destination's end. */
  Connection demand() {
    return demand;
  }

  /** The destination's end. */
  Connection bulk() {
    return bulk;
  }

  /** Begins to push what nobody asked for. */
  void start() {
    for (int i = 0; i < PUSHES_AT_START; i++) {
      bulkHere.eventLoop().execute(bulkPeer::pushNext);
    }
  }

  /** Pages that were sent with content so far, duplicates included. */
  long contentPages() {
    return contentPages.get();
  }

  /** Requests that were not answered, because bulk has the page. */
  long discardedRequests() {
    return discardedRequests.get();
  }

  /** Closes all ends; no loop does anything for them any more when this returns. */
  void close() {
    for (Connection connection : new Connection[] {demandHere, bulkHere, demand, bulk}) {
      connection.close();
      connection.handOver(cause -> {});
    }
  }

  private void write(Connection connection, int first, int count) {
    int end = first + count;
    for (int page = first; page < end; ) {
      int runEnd = page + 1;
      while (runEnd < end && content.isZero(runEnd) == content.isZero(page)) {
        runEnd++;
      }
      connection.write(
          content.isZero(page)
              ? connection.writer().zero(page, runEnd - page)
              : pages(connection, page, runEnd - page));
      page = runEnd;
    }
  }

  private ByteBuf pages(Connection connection, int first, int count) {
    ByteBuf frame = connection.writer().beginPages(first, count);
    int byteLength = count * RamLayout.PAGE_BYTES;
    frame.ensureWritable(byteLength);
    MemorySegment bytes =
        MemorySegment.ofAddress(frame.memoryAddress() + frame.writerIndex())
            .reinterpret(byteLength);
    for (int i = 0; i < count; i++) {
      long word = content.wordOf(first + i);
      long start = (long) i * RamLayout.PAGE_BYTES;
      for (long offset = start; offset < start + RamLayout.PAGE_BYTES; offset += Long.BYTES) {
        bytes.set(ValueLayout.JAVA_LONG_UNALIGNED, offset, word);
      }
    }
    frame.writerIndex(frame.writerIndex() + byteLength);
    contentPages.addAndGet(count);
    return connection.writer().seal(frame);
  }

  private final class DemandPeer implements FrameSink {
    private final SplittableRandom random;
    private int requests;

    DemandPeer(SplittableRandom random) {
      this.random = random;
    }

    @Override
    public void onRequest(int first, int count) {
      for (int page = first; page < first + count; page++) {
        onRequest(page);
      }
    }

    private void onRequest(int page) {
      if (acknowledged.get(page) || (pushed.get(page) && random.nextBoolean())) {
        discardedRequests.incrementAndGet();
        return;
      }
      int way = random.nextInt(16);
      if (way < 4) {
        int run = 1 + random.nextInt(LONGEST_RUN);
        bulkHere.eventLoop().execute(() -> bulkPeer.push(page, Math.min(run, pageCount - page)));
      }
      if (way >= 2) {
        write(demandHere, page, 1);
      }
      if (requests++ % 8 == 0) {
        bulkHere.eventLoop().execute(bulkPeer::pushNext);
      }
    }

    @Override
    public void onBatchEnd() {
      demandHere.flush();
    }

    @Override
    public void onClosed(CloseCause cause) {}
  }

  private final class BulkPeer implements FrameSink {
    private final ArrayDeque<int[]> inFlight = new ArrayDeque<>();
    private final int start;
    private int turn;
    private long acknowledgedFrames;

    BulkPeer(int start) {
      this.start = start / PAGES_PER_PUSH * PAGES_PER_PUSH;
    }

    void pushNext() {
      if (turn < pageCount) {
        int first = (start + turn) % pageCount;
        int count = Math.min(PAGES_PER_PUSH, pageCount - first);
        turn += count;
        push(first, count);
      }
    }

    void push(int first, int count) {
      int end = first + count;
      pushed.setRange(first, count);
      for (int page = first; page < end; ) {
        int runEnd = page + 1;
        while (runEnd < end && content.isZero(runEnd) == content.isZero(page)) {
          runEnd++;
        }
        write(bulkHere, page, runEnd - page);
        inFlight.add(new int[] {page, runEnd - page});
        page = runEnd;
      }
      bulkHere.flush();
    }

    @Override
    public void onAck(long frames) {
      for (; acknowledgedFrames < frames; acknowledgedFrames++) {
        int[] run = inFlight.remove();
        acknowledged.setRange(run[0], run[1]);
      }
    }

    @Override
    public void onClosed(CloseCause cause) {}
  }
}
