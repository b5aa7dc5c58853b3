package dev.postcopy.source.session;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.jvm.Compiler;
import dev.postcopy.linux.ScratchMemory;
import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.source.memory.GuestMemory;
import dev.postcopy.source.page.BackgroundPusher.PushOrder;
import dev.postcopy.source.page.BandwidthLimit;
import dev.postcopy.source.page.BulkWindow;
import dev.postcopy.source.page.SentPages;
import dev.postcopy.transport.Arrivals;
import dev.postcopy.transport.ClassHierarchy;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameSink;
import io.netty.buffer.ByteBuf;
import io.netty.channel.IoEventLoopGroup;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Answers requests and pushes pages of scratch memory to a peer in this process, until the JVM has
 * compiled the way: the first faults of a guest are the ones that hurt most. It is the real path;
 * only the peer is made up.
 */
public final class WarmUp {

  private static final Logger log = LoggerFactory.getLogger(WarmUp.class);

  private static final int PAGES = 2048;
  private static final int REQUESTS = 1024;
  private static final int REQUESTS_AT_ONCE = 2;

  /** Enough for the compiler, short enough not to be felt by an operator. */
  private static final int ROUNDS = 2;

  private static final int SWITCH_OVERS = Compiler.ENOUGH_SLOW_CALLS / ROUNDS;
  private static final int PATIENCE_SECONDS = 5;
  private static final HostAndPort NOWHERE = new HostAndPort("warm-up", 1);
  private static final RamLayout LAYOUT =
      new RamLayout(List.of(new RamBlock("scratch", (long) PAGES * RamLayout.PAGE_BYTES)));

  private WarmUp() {}

  /** Completes when this process is warm, or cannot be made so; the first caller begins it. */
  static CompletableFuture<Void> once() {
    return Started.WARM;
  }

  private static final class Started {
    static final CompletableFuture<Void> WARM =
        CompletableFuture.runAsync(() -> run(ROUNDS))
            .exceptionally(
                failure -> {
                  log.info("not warmed up: {}", failure.getMessage());
                  return null;
                });
  }

  /** Sends {@code rounds} × 8 MiB, half of it on request. */
  public static void run(int rounds) {
    long startNanos = System.nanoTime();
    ClassHierarchy.complete();
    IoEventLoopGroup loops = EventLoops.named("warm-up", 2);
    try {
      for (int round = 0; round < rounds; round++) {
        sendScratch(loops, new SplittableRandom(round));
      }
    } catch (MigrationFailedException e) {
      throw new IllegalStateException(e);
    } finally {
      EventLoops.shutDown(loops);
    }
    log.info("warm after {} ms", (System.nanoTime() - startNanos) / 1_000_000);
  }

  private static void sendScratch(IoEventLoopGroup loops, SplittableRandom random)
      throws MigrationFailedException {
    SourceConversation conversation = new SourceConversation(SourcePhase.PREPARING, NOWHERE);
    Arrivals arrivals = new Arrivals();
    try (ScratchMemory scratch = ScratchMemory.create(LAYOUT.byteLength());
        GuestMemory memory = GuestMemory.of(LAYOUT, List.of(scratch.file()))) {
      fill(scratch);
      PageServing pages =
          new PageServing(
              memory,
              new SentPages(LAYOUT.pageCount()),
              BulkWindow.adaptive(),
              new BandwidthLimit(BandwidthLimit.UNLIMITED),
              PushOrder.FROM_LAST_FAULT,
              Duration.ofSeconds(PATIENCE_SECONDS),
              conversation.queue()::add);
      SocketPair demandPair = UnixSockets.socketPair();
      SocketPair bulkPair = UnixSockets.socketPair();
      AskingPeer asking = new AskingPeer(random);
      Connection demand =
          Transport.adopt(loops.next(), demandPair.first().release(), pages::onDemandConnected);
      Connection bulk =
          Transport.adopt(loops.next(), bulkPair.first().release(), pages::onBulkConnected);
      Connection asker = Transport.adopt(loops.next(), demandPair.second().release(), asking::on);
      Connection taker =
          Transport.adopt(
              loops.next(),
              bulkPair.second().release(),
              made -> new AcknowledgingPeer(made, arrivals));
      pages.startMeasuring();
      pages.startAnswering(0, 1);
      asker.eventLoop().execute(asking::ask);
      pages.startPushing();
      awaitDrained(conversation);
      await(asking.done);
      Rehearsal.commit(SWITCH_OVERS, conversation, loops);
      Rehearsal.carryDeviceState(SWITCH_OVERS, conversation, bulk, loops.next(), arrivals);
      List.of(demand, bulk, asker, taker).forEach(WarmUp::closeAndWait);
    }
  }

  private static void awaitDrained(SourceConversation conversation)
      throws MigrationFailedException {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
    while (!conversation.isDrained()) {
      conversation.unexpected(conversation.next(deadline, "the pages of the warm-up to arrive"));
    }
  }

  /** The memory is unmapped next: nobody may be reading it any more. */
  private static void closeAndWait(Connection connection) {
    connection.close();
    connection.handOver(cause -> {});
  }

  /** Content in three pages of four, zeros in every eighth, holes in the others. */
  private static void fill(ScratchMemory scratch) {
    MemorySegment memory =
        MemorySegment.ofAddress(scratch.range().start().value())
            .reinterpret(scratch.range().byteLength());
    for (int page = 0; page < PAGES; page++) {
      if (page % 4 != 3) {
        memory.asSlice((long) page * RamLayout.PAGE_BYTES, RamLayout.PAGE_BYTES).fill((byte) page);
      } else if (page % 8 == 3) {
        memory.asSlice((long) page * RamLayout.PAGE_BYTES, RamLayout.PAGE_BYTES).fill((byte) 0);
      }
    }
  }

  private static void await(CountDownLatch latch) {
    try {
      if (!latch.await(PATIENCE_SECONDS, TimeUnit.SECONDS)) {
        log.info("the warm-up does not end; going on without");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** Asks for pages at random, a few at a time, as faulting threads do. */
  private static final class AskingPeer implements FrameSink {

    final CountDownLatch done = new CountDownLatch(1);
    private final SplittableRandom random;
    private int asked;

    @SuppressWarnings("NullAway.Init") // set before the first frame
    private Connection connection;

    AskingPeer(SplittableRandom random) {
      this.random = random;
    }

    FrameSink on(Connection made) {
      connection = made;
      return this;
    }

    /** Not every request is answered, pages that were acknowledged are not: so nobody waits. */
    void ask() {
      for (int i = 0; i < REQUESTS_AT_ONCE; i++) {
        connection.write(connection.writer().request(random.nextInt(PAGES), 1));
      }
      connection.flush();
      asked += REQUESTS_AT_ONCE;
      if (asked < REQUESTS) {
        connection.eventLoop().execute(this::ask);
      } else {
        done.countDown();
      }
    }

    @Override
    public void onPages(int first, int count, ByteBuf pages) {}

    @Override
    public void onZero(int first, int count) {}

    @Override
    public void onPing(long stamp) {
      connection.write(connection.writer().pong(stamp));
      connection.flush();
    }

    @Override
    public void onClosed(CloseCause cause) {}
  }

  /** Acknowledges every batch of page frames. */
  private static final class AcknowledgingPeer implements FrameSink {

    private final Connection connection;
    private final Arrivals arrivals;
    private long frames;

    /**
     * @param arrivals of device state
     */
    AcknowledgingPeer(Connection connection, Arrivals arrivals) {
      this.connection = connection;
      this.arrivals = arrivals;
    }

    @Override
    public void onPages(int first, int count, ByteBuf pages) {
      frames++;
    }

    @Override
    public void onZero(int first, int count) {
      frames++;
    }

    @Override
    public void onDeviceState(ByteBuf piece) {
      arrivals.add(piece.readableBytes());
    }

    @Override
    public void onControl(ControlFrame frame) {}

    @Override
    public void onBatchEnd() {
      connection.write(connection.writer().ack(frames));
      connection.flush();
    }

    @Override
    public void onClosed(CloseCause cause) {}
  }
}
