package dev.postcopy.source.session;

import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.source.memory.GuestMemory;
import dev.postcopy.source.page.BackgroundPusher.PushOrder;
import dev.postcopy.source.page.BandwidthLimit;
import dev.postcopy.source.page.BulkWindow;
import dev.postcopy.source.page.ScratchGuest;
import dev.postcopy.source.page.SentPages;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.FrameSink;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.IoEventLoopGroup;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** A source that serves a guest's pages, and a destination that says what a test has it say. */
final class HostileDestination implements AutoCloseable {

  private static final long PATIENCE_SECONDS = 10;
  private static final long WINDOW_BYTES = 64 * 1024;

  final PageServing serving;
  final BlockingQueue<SourceEvent> events = new LinkedBlockingQueue<>();

  /** The pages that came with content on the demand connection, in order. */
  final BlockingQueue<Integer> answers = new LinkedBlockingQueue<>();

  /** The first pages of runs that came as zero. */
  final BlockingQueue<Integer> zeroRuns = new LinkedBlockingQueue<>();

  /** Pages that came with what is not their content. */
  final AtomicInteger wrongPages = new AtomicInteger();

  final Connection demand;
  final Connection bulk;
  private final Connection demandThere;
  private final Connection bulkThere;

  HostileDestination(IoEventLoopGroup loops, GuestMemory memory) {
    serving =
        new PageServing(
            memory,
            new SentPages(memory.layout().pageCount()),
            BulkWindow.fixed(WINDOW_BYTES),
            new BandwidthLimit(BandwidthLimit.UNLIMITED),
            PushOrder.FROM_LAST_FAULT,
            Duration.ofMinutes(1),
            events::add);
    SocketPair demandPair = UnixSockets.socketPair();
    SocketPair bulkPair = UnixSockets.socketPair();
    demandThere =
        Transport.adopt(loops.next(), demandPair.first().release(), serving::onDemandConnected);
    bulkThere = Transport.adopt(loops.next(), bulkPair.first().release(), serving::onBulkConnected);
    demand = Transport.adopt(loops.next(), demandPair.second().release(), made -> new Pages(true));
    bulk = Transport.adopt(loops.next(), bulkPair.second().release(), made -> new Pages(false));
  }

  /** Puts bytes on a connection as they are. */
  static void say(Connection connection, byte... bytes) {
    connection.execute(
        () -> {
          connection.write(Unpooled.wrappedBuffer(bytes));
          connection.flush();
        });
  }

  /**
   * Closes this end, behind what was said; what the source makes of each of the two connections.
   */
  List<String> hangUp() throws InterruptedException {
    demand.execute(demand::close);
    bulk.execute(bulk::close);
    List<String> causes = new ArrayList<>();
    while (causes.size() < 2) {
      SourceEvent event = events.poll(PATIENCE_SECONDS, TimeUnit.SECONDS);
      if (event == null) {
        throw new AssertionError("a connection did not end; ended: " + causes);
      }
      if (event instanceof SourceEvent.ConnectionLost(CloseCause cause)) {
        causes.add(cause.text());
      }
    }
    return causes;
  }

  /** The source reads no memory of the guest any more when this returns. */
  @Override
  public void close() {
    for (Connection connection : List.of(demand, bulk, demandThere, bulkThere)) {
      connection.close();
      connection.handOver(cause -> {});
    }
  }

  private final class Pages implements FrameSink {
    private final boolean onDemand;

    Pages(boolean onDemand) {
      this.onDemand = onDemand;
    }

    @Override
    public void onPages(int first, int count, ByteBuf pages) {
      if (!ScratchGuest.isContentOf(first, count, pages)) {
        wrongPages.incrementAndGet();
      }
      if (onDemand) {
        answers.add(first);
      }
    }

    @Override
    public void onZero(int first, int count) {
      zeroRuns.add(first);
    }

    @Override
    public void onPing(long stamp) {}

    @Override
    public void onClosed(CloseCause cause) {}
  }
}
