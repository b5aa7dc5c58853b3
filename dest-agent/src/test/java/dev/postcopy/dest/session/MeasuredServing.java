package dev.postcopy.dest.session;

import com.sun.management.ThreadMXBean;
import dev.postcopy.cli.HostAndPort;
import dev.postcopy.dest.attach.GuestRam;
import dev.postcopy.linux.ScratchMemory;
import dev.postcopy.linux.Userfaultfd;
import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.FrameSink;
import io.netty.buffer.ByteBuf;
import io.netty.channel.Channel;
import io.netty.channel.IoEventLoopGroup;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Semaphore;
import java.util.function.DoubleSupplier;

/**
 * The destination's serving of faults on scratch memory, over TCP, with a stand-in for the source
 * on loops of its own; tells what the destination's two loops allocate.
 */
final class MeasuredServing implements AutoCloseable {

  /** How the stand-in answers a request. */
  enum Answer {
    ON_DEMAND,
    ON_BULK,
    AS_ZERO
  }

  private static final int PAGES_PER_ROUND = 1024;
  private static final int MAX_ROUNDS = 20;
  private static final int PAGES_PER_FRAME = 4;
  private static final RamLayout LAYOUT =
      new RamLayout(
          List.of(
              new RamBlock("scratch", (long) PAGES_PER_ROUND * MAX_ROUNDS * RamLayout.PAGE_BYTES)));

  private static final Duration PATIENCE = Duration.ofSeconds(20);
  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  private final IoEventLoopGroup acceptLoop = EventLoops.named("accept", 1);
  private final IoEventLoopGroup loops = EventLoops.named("measured", 2);
  private final IoEventLoopGroup peerLoops = EventLoops.named("stand-in", 2);
  private final ScratchMemory scratch = ScratchMemory.create(LAYOUT.byteLength());
  private final Userfaultfd userfaultfd = Userfaultfd.ofThisProcess();
  private final BlockingQueue<Connection> accepted = new LinkedBlockingQueue<>();
  private final Semaphore acknowledged = new Semaphore(0);
  private final Channel listening =
      Transport.listen(
          acceptLoop, loops, new HostAndPort("127.0.0.1", 0), Optional.empty(), this::onAccepted);
  private final Connection demand;
  private final Connection bulk;
  private final Connection demandPeer;
  private final Connection bulkPeer;
  private final FaultServing serving;
  private final List<Long> loopThreads;
  private volatile Answer answer = Answer.ON_DEMAND;
  private int nextPage;

  private MeasuredServing() throws IOException, InterruptedException {
    userfaultfd.registerMissing(scratch.range());
    demandPeer = connect();
    demand = accepted.take();
    bulkPeer = connect();
    bulk = accepted.take();
    serving =
        FaultServing.start(
            GuestRam.at(LAYOUT, scratch.range().start().value()),
            userfaultfd,
            demand,
            bulk,
            new DeviceStateFeeder(bulk),
            new LinkedBlockingQueue<>());
    loopThreads = List.of(threadOf(demand), threadOf(bulk));
  }

  static MeasuredServing start() {
    try {
      return new MeasuredServing();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  /** Bytes that both loops allocated for each fault, once they are below {@code bound}. */
  double bytesPerFault(Answer how, double bound) {
    answer = how;
    return steady(bound, () -> allocatedDuring(this::faultOnARound) / (double) PAGES_PER_ROUND);
  }

  /** Bytes that both loops allocated for each pushed frame, once they are below {@code bound}. */
  double bytesPerPushedFrame(double bound) {
    return steady(
        bound,
        () -> allocatedDuring(this::pushARound) / (double) (PAGES_PER_ROUND / PAGES_PER_FRAME));
  }

  /**
   * The last round is left out: all pages being there is news. What is not compiled yet allocates;
   * when the compiler gets to it depends on the machine.
   */
  private static double steady(double bound, DoubleSupplier round) {
    double bytes = Double.MAX_VALUE;
    for (int i = 0; i < MAX_ROUNDS - 1 && bytes >= bound; i++) {
      bytes = round.getAsDouble();
    }
    return bytes;
  }

  private long allocatedDuring(Runnable round) {
    long before = allocated();
    // Not on this thread: one whose fault is not answered can be neither interrupted nor timed out.
    Thread thread = Thread.ofPlatform().daemon().start(round);
    try {
      if (!thread.join(PATIENCE)) {
        throw new AssertionError("a page did not come");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
    return allocated() - before;
  }

  private long allocated() {
    return loopThreads.stream().mapToLong(THREADS::getThreadAllocatedBytes).sum();
  }

  private void faultOnARound() {
    int end = nextPage + PAGES_PER_ROUND;
    for (; nextPage < end; nextPage++) {
      scratch.touch((long) nextPage * RamLayout.PAGE_BYTES);
    }
  }

  private void pushARound() {
    int end = nextPage + PAGES_PER_ROUND;
    for (; nextPage < end; nextPage += PAGES_PER_FRAME) {
      int first = nextPage;
      bulkPeer.execute(() -> sendContent(bulkPeer, first, PAGES_PER_FRAME));
      acknowledged.acquireUninterruptibly();
    }
  }

  private static void sendContent(Connection connection, int first, int count) {
    ByteBuf frame = connection.writer().beginPages(first, count);
    frame.writeZero(count * RamLayout.PAGE_BYTES);
    connection.write(connection.writer().seal(frame));
    connection.flush();
  }

  private FrameSink onAccepted(Connection connection) {
    accepted.add(connection);
    return cause -> {};
  }

  private Connection connect() throws IOException {
    return Transport.connect(
        peerLoops,
        Transport.localAddress(listening),
        1000,
        Optional.empty(),
        connection -> new StandIn(connection));
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
    serving.stop();
    userfaultfd.unregister(scratch.range());
    List.of(demandPeer, bulkPeer, demand, bulk).forEach(Connection::closeAndWait);
    listening.close();
    List.of(acceptLoop, loops, peerLoops).forEach(EventLoops::shutDown);
    userfaultfd.close();
    scratch.close();
  }

  private final class StandIn implements FrameSink {

    private final Connection connection;

    StandIn(Connection connection) {
      this.connection = connection;
    }

    @Override
    public void onRequest(int first, int count) {
      switch (answer) {
        case ON_DEMAND -> sendContent(connection, first, count);
        case ON_BULK -> bulkPeer.execute(() -> sendContent(bulkPeer, first, count));
        case AS_ZERO -> {
          connection.write(connection.writer().zero(first, count));
          connection.flush();
        }
      }
    }

    @Override
    public void onAck(long frames) {
      acknowledged.release();
    }

    @Override
    public void onClosed(CloseCause cause) {}
  }
}
