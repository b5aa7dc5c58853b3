package dev.postcopy.source.session;

import com.sun.management.ThreadMXBean;
import dev.postcopy.cli.HostAndPort;
import dev.postcopy.linux.ScratchMemory;
import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.source.memory.GuestMemory;
import dev.postcopy.source.page.BackgroundPusher.PushOrder;
import dev.postcopy.source.page.BandwidthLimit;
import dev.postcopy.source.page.BulkWindow;
import dev.postcopy.source.page.SentPages;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.FrameSink;
import dev.postcopy.wire.Wire;
import io.netty.buffer.ByteBuf;
import io.netty.channel.Channel;
import io.netty.channel.IoEventLoopGroup;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.lang.management.ManagementFactory;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.function.DoubleSupplier;

/**
 * The source's serving of pages of scratch memory, over TCP, with a stand-in for the destination on
 * loops of its own; tells what the source's two loops allocate.
 */
final class MeasuredServing implements AutoCloseable {

  /** What all pages are. */
  enum Content {
    DATA,
    ZEROS,
    HOLES
  }

  private static final int PAGES_PER_ROUND = 1024;
  private static final int FRAMES_PER_ROUND = PAGES_PER_ROUND / 4;
  private static final int MAX_ROUNDS = 20;
  private static final long PATIENCE_SECONDS = 20;
  private static final RamLayout LAYOUT =
      new RamLayout(
          List.of(
              new RamBlock("scratch", (long) PAGES_PER_ROUND * MAX_ROUNDS * RamLayout.PAGE_BYTES)));
  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  private final IoEventLoopGroup acceptLoop = EventLoops.named("accept", 1);
  private final IoEventLoopGroup loops = EventLoops.named("measured", 2);
  private final IoEventLoopGroup peerLoops = EventLoops.named("stand-in", 2);
  private final BlockingQueue<Connection> accepted = new LinkedBlockingQueue<>();
  private final Semaphore arrived = new Semaphore(0);
  private final Channel listening =
      Transport.listen(
          acceptLoop,
          peerLoops,
          new HostAndPort("127.0.0.1", 0),
          Optional.empty(),
          this::onAccepted);
  private final ScratchMemory scratch = ScratchMemory.create(LAYOUT.byteLength());
  private final GuestMemory memory = GuestMemory.of(LAYOUT, List.of(scratch.file()));
  private final PageServing serving;
  private final Connection demand;
  private final Connection bulk;
  private final Connection demandPeer;
  private final Connection bulkPeer;
  private final List<Long> loopThreads;
  private int nextPage;
  private long framesPushed;

  private MeasuredServing(Content content) throws IOException, InterruptedException {
    fill(content);
    serving =
        new PageServing(
            memory,
            new SentPages(LAYOUT.pageCount()),
            BulkWindow.fixed((long) FRAMES_PER_ROUND * Wire.PUSHED_FRAME_BYTES),
            new BandwidthLimit(BandwidthLimit.UNLIMITED),
            PushOrder.FROM_LAST_FAULT,
            Duration.ofMinutes(1),
            event -> {});
    InetSocketAddress address = Transport.localAddress(listening);
    demand = Transport.connect(loops, address, 1000, Optional.empty(), serving::onDemandConnected);
    demandPeer = accepted.take();
    bulk = Transport.connect(loops, address, 1000, Optional.empty(), serving::onBulkConnected);
    bulkPeer = accepted.take();
    loopThreads = List.of(threadOf(demand), threadOf(bulk));
    serving.startAnswering();
  }

  static MeasuredServing of(Content content) {
    try {
      return new MeasuredServing(content);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  private void fill(Content content) {
    if (content != Content.HOLES) {
      MemorySegment.ofAddress(scratch.range().start().value())
          .reinterpret(LAYOUT.byteLength())
          .fill((byte) (content == Content.DATA ? 7 : 0));
    }
  }

  /** Bytes that both loops allocated for each answer, once they are below {@code bound}. */
  double bytesPerAnswer(double bound) {
    return steady(bound, () -> allocatedDuring(this::askForARound) / (double) PAGES_PER_ROUND);
  }

  /** Bytes that both loops allocated for each pushed frame, once they are below {@code bound}. */
  double bytesPerPushedFrame(double bound) {
    serving.startPushing();
    await(FRAMES_PER_ROUND);
    return steady(bound, () -> allocatedDuring(this::takeARound) / (double) FRAMES_PER_ROUND);
  }

  /** What is not compiled yet allocates; when the compiler gets to it depends on the machine. */
  private static double steady(double bound, DoubleSupplier round) {
    double bytes = Double.MAX_VALUE;
    for (int i = 0; i < MAX_ROUNDS - 1 && bytes >= bound; i++) {
      bytes = round.getAsDouble();
    }
    return bytes;
  }

  private long allocatedDuring(Runnable round) {
    long before = allocated();
    round.run();
    return allocated() - before;
  }

  private long allocated() {
    return loopThreads.stream().mapToLong(THREADS::getThreadAllocatedBytes).sum();
  }

  private void askForARound() {
    int end = nextPage + PAGES_PER_ROUND;
    for (; nextPage < end; nextPage++) {
      int page = nextPage;
      demandPeer.execute(
          () -> {
            demandPeer.write(demandPeer.writer().request(page, 1));
            demandPeer.flush();
          });
      await(1);
    }
  }

  /** The window is as long as a round: what was pushed is acknowledged, and as much comes again. */
  private void takeARound() {
    framesPushed += FRAMES_PER_ROUND;
    long frames = framesPushed;
    bulkPeer.execute(
        () -> {
          bulkPeer.write(bulkPeer.writer().ack(frames));
          bulkPeer.flush();
        });
    await(FRAMES_PER_ROUND);
  }

  private void await(int frames) {
    try {
      if (!arrived.tryAcquire(frames, PATIENCE_SECONDS, TimeUnit.SECONDS)) {
        throw new AssertionError("a page did not come");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  private FrameSink onAccepted(Connection connection) {
    accepted.add(connection);
    return new StandIn();
  }

  private static long threadOf(Connection connection) {
    return connection
        .eventLoop()
        .submit(() -> Thread.currentThread().threadId())
        .syncUninterruptibly()
        .getNow();
  }

  @Override
  public void close() {
    List.of(demandPeer, bulkPeer, demand, bulk).forEach(Connection::closeAndWait);
    listening.close();
    List.of(acceptLoop, loops, peerLoops).forEach(EventLoops::shutDown);
    loops.terminationFuture().awaitUninterruptibly(PATIENCE_SECONDS, TimeUnit.SECONDS);
    memory.close();
    scratch.close();
  }

  private final class StandIn implements FrameSink {

    @Override
    public void onPages(int first, int count, ByteBuf pages) {
      arrived.release();
    }

    @Override
    public void onZero(int first, int count) {
      arrived.release();
    }

    @Override
    public void onClosed(CloseCause cause) {}
  }
}
