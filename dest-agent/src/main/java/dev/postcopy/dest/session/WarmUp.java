package dev.postcopy.dest.session;

import dev.postcopy.dest.attach.GuestRam;
import dev.postcopy.jvm.Compiler;
import dev.postcopy.linux.ScratchMemory;
import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.linux.Userfaultfd;
import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.transport.ClassHierarchy;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.FrameSink;
import io.netty.buffer.ByteBuf;
import io.netty.channel.IoEventLoopGroup;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CompletableFuture;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Runs the way of a page (fault, request, page, place, wake) on scratch memory of our own with a
 * peer in this process, until the JVM has compiled it: the first faults of a guest are the ones
 * that hurt most. It is the real path; only the peer's pages are made up.
 */
public final class WarmUp {

  private static final Logger log = LoggerFactory.getLogger(WarmUp.class);

  private static final int PAGES = 2048;
  private static final int PAGES_PER_PUSH = 4;
  private static final int FAULTING_THREADS = 2;

  /** Enough for the compiler, short enough not to be felt by an operator. */
  private static final int ROUNDS = 2;

  private static final int SWITCH_OVERS = Compiler.ENOUGH_SLOW_CALLS / ROUNDS;
  private static final RamLayout LAYOUT =
      new RamLayout(List.of(new RamBlock("scratch", (long) PAGES * RamLayout.PAGE_BYTES)));

  private static final Duration PATIENCE = Duration.ofSeconds(5);

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

  /**
   * Serves {@code rounds} × about 1000 faults, and takes as many pushed pages.
   *
   * @throws dev.postcopy.linux.HostRefusal where this host has no userfaultfd for us
   */
  public static void run(int rounds) {
    long startNanos = System.nanoTime();
    ClassHierarchy.complete();
    IoEventLoopGroup loops = EventLoops.named("warm-up", 2);
    try {
      for (int round = 0; round < rounds; round++) {
        serveScratch(loops, new SplittableRandom(round));
      }
    } catch (MigrationFailedException e) {
      throw new IllegalStateException(e);
    } finally {
      EventLoops.shutDown(loops);
    }
    log.info("warm after {} ms", (System.nanoTime() - startNanos) / 1_000_000);
  }

  private static void serveScratch(IoEventLoopGroup loops, SplittableRandom random)
      throws MigrationFailedException {
    DestinationConversation conversation = new DestinationConversation(DestinationPhase.LISTENING);
    try (ScratchMemory scratch = ScratchMemory.create(LAYOUT.byteLength());
        Userfaultfd userfaultfd = Userfaultfd.ofThisProcess()) {
      userfaultfd.registerMissing(scratch.range());
      GuestRam ram = GuestRam.at(LAYOUT, scratch.range().start().value());
      Peer demandPeer = new Peer();
      Peer bulkPeer = new Peer();
      Connection demand = connect(loops, demandPeer);
      Connection bulk = connect(loops, bulkPeer);
      DeviceStateFeeder feeder = new DeviceStateFeeder(bulk);
      FaultServing serving =
          FaultServing.start(ram, userfaultfd, demand, bulk, feeder, conversation.queue());
      List<Thread> threads = new ArrayList<>();
      try {
        for (int i = 0; i < FAULTING_THREADS; i++) {
          threads.add(startFaulting(scratch, random.split()));
        }
        bulkPeer.push();
        threads.forEach(WarmUp::join);
        Rehearsal.commit(SWITCH_OVERS, conversation, loops);
        Rehearsal.feedDeviceState(SWITCH_OVERS, feeder, bulkPeer.connection, loops.next());
      } finally {
        serving.stop();
        // Wakes whoever waits still. The memory goes away next, and a thread that touches it then
        // takes the JVM with it.
        userfaultfd.unregister(scratch.range());
        threads.forEach(WarmUp::awaitEnd);
        demand.close();
        bulk.close();
      }
    }
  }

  /** A connection whose other end is {@code peer}. */
  private static Connection connect(IoEventLoopGroup loops, Peer peer) {
    SocketPair pair = UnixSockets.socketPair();
    Transport.adopt(loops.next(), pair.first().release(), peer::on);
    return Transport.adopt(loops.next(), pair.second().release(), made -> cause -> {});
  }

  /** Touches the upper half at random and the lower half in order, against the push. */
  private static Thread startFaulting(ScratchMemory scratch, SplittableRandom random) {
    return Thread.ofPlatform()
        .daemon()
        .name("warm-up-fault")
        .start(
            () -> {
              for (int i = 0; i < PAGES / FAULTING_THREADS; i++) {
                int page = i % 2 == 0 ? i / 2 : PAGES / 2 + random.nextInt(PAGES / 2);
                scratch.touch((long) page * RamLayout.PAGE_BYTES);
              }
            });
  }

  private static void join(Thread thread) {
    try {
      if (!thread.join(PATIENCE)) {
        log.info("a fault of the warm-up was not answered");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while warming up", e);
    }
  }

  private static void awaitEnd(Thread thread) {
    boolean interrupted = false;
    while (thread.isAlive()) {
      try {
        thread.join();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /** Stands in for the source: answers every request, pushes the lower half. */
  private static final class Peer implements FrameSink {

    @SuppressWarnings("NullAway.Init") // set before the first frame
    private Connection connection;

    Peer on(Connection made) {
      connection = made;
      return this;
    }

    @Override
    public void onRequest(int first, int count) {
      if (isZero(first)) {
        connection.write(connection.writer().zero(first, count));
      } else {
        connection.write(pages(first, count));
      }
    }

    @Override
    public void onAck(long frames) {}

    @Override
    public void onBatchEnd() {
      connection.flush();
    }

    @Override
    public void onClosed(CloseCause cause) {}

    void push() {
      for (int chunk = 0; chunk < PAGES / 2; chunk += PAGES_PER_PUSH) {
        int first = chunk;
        connection
            .eventLoop()
            .execute(
                () -> {
                  connection.write(
                      isZero(first)
                          ? connection.writer().zero(first, PAGES_PER_PUSH)
                          : pages(first, PAGES_PER_PUSH));
                  connection.flush();
                });
      }
    }

    /** A page is zero or not, whoever asks: the destination takes nothing else. */
    private static boolean isZero(int page) {
      return page / PAGES_PER_PUSH % 16 == 0;
    }

    private ByteBuf pages(int first, int count) {
      ByteBuf frame = connection.writer().beginPages(first, count);
      frame.writeZero(count * RamLayout.PAGE_BYTES);
      return connection.writer().seal(frame);
    }
  }
}
