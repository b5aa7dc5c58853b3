package dev.postcopy.dest.session;

import dev.postcopy.dest.attach.GuestRam;
import dev.postcopy.linux.OwnedFd;
import dev.postcopy.linux.ScratchMemory;
import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.linux.Userfaultfd;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.FrameSink;
import io.netty.buffer.Unpooled;
import io.netty.channel.IoEventLoopGroup;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * A destination that serves faults of scratch memory, and a source that says what a test has it
 * say.
 */
final class HostileSource implements AutoCloseable {

  private static final long PATIENCE_SECONDS = 10;

  final FaultServing serving;
  final Connection demand;
  final Connection bulk;
  private final BlockingQueue<DestinationEvent> events = new LinkedBlockingQueue<>();
  private final Userfaultfd userfaultfd;
  private final ScratchMemory memory;
  private final OwnedFd deviceState;
  private final Thread waiter;

  /**
   * @param ready whether device state is taken
   * @param touched the offset of a byte that a thread waits for from now on
   */
  HostileSource(
      IoEventLoopGroup loops,
      ScratchMemory memory,
      Userfaultfd userfaultfd,
      GuestRam ram,
      boolean ready,
      long touched) {
    this.memory = memory;
    this.userfaultfd = userfaultfd;
    userfaultfd.registerMissing(memory.range());
    SocketPair demandPair = UnixSockets.socketPair();
    SocketPair bulkPair = UnixSockets.socketPair();
    SocketPair statePair = UnixSockets.socketPair();
    Connection demandThere = adopt(loops, demandPair.first());
    Connection bulkThere = adopt(loops, bulkPair.first());
    DeviceStateFeeder feeder = new DeviceStateFeeder(bulkThere);
    serving = FaultServing.start(ram, userfaultfd, demandThere, bulkThere, feeder, events);
    deviceState = statePair.second();
    if (ready) {
      feeder.open(statePair.first());
    } else {
      statePair.first().close();
    }
    demand = adopt(loops, demandPair.second());
    bulk = adopt(loops, bulkPair.second());
    waiter = Thread.ofPlatform().daemon().name("waiter").start(() -> memory.touch(touched));
  }

  private static Connection adopt(IoEventLoopGroup loops, OwnedFd socket) {
    return Transport.adopt(loops.next(), socket.release(), made -> new Deaf());
  }

  /** Puts bytes on a connection as they are. */
  static void say(Connection connection, byte... bytes) {
    connection.execute(
        () -> {
          connection.write(Unpooled.wrappedBuffer(bytes));
          connection.flush();
        });
  }

  /** Closes both connections behind what was said; what the destination has to tell of it all. */
  List<DestinationEvent> hangUp() throws InterruptedException {
    demand.execute(demand::close);
    bulk.execute(bulk::close);
    List<DestinationEvent> told = new ArrayList<>();
    for (int lost = 0; lost < 2; ) {
      DestinationEvent event = events.poll(PATIENCE_SECONDS, TimeUnit.SECONDS);
      if (event == null) {
        throw new AssertionError("a connection did not end; told: " + told);
      }
      told.add(event);
      lost += event instanceof DestinationEvent.ConnectionLost ? 1 : 0;
    }
    return told;
  }

  /** Ends the waiting too. */
  @Override
  public void close() {
    serving.stop();
    userfaultfd.unregister(memory.range());
    deviceState.close();
    try {
      if (!waiter.join(Duration.ofSeconds(PATIENCE_SECONDS))) {
        throw new AssertionError("a thread waits for ever");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  /** The source's end: it takes what comes, and does nothing for it. */
  private static final class Deaf implements FrameSink {
    @Override
    public void onRequest(int first, int count) {}

    @Override
    public void onAck(long frames) {}

    @Override
    public void onPong(long stamp) {}

    @Override
    public void onClosed(CloseCause cause) {}
  }
}
