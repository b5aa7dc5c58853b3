package dev.postcopy.dest.session;

import dev.postcopy.dest.attach.GuestRam;
import dev.postcopy.dest.page.PageStates;
import dev.postcopy.linux.RamFile;
import dev.postcopy.linux.RamMapping;
import dev.postcopy.linux.ScratchProcess;
import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.linux.Userfaultfd;
import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.metrics.FaultTimes;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.LinkEvents;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameSink;
import io.netty.buffer.ByteBuf;
import io.netty.channel.IoEventLoopGroup;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** A scratch process whose faults are served, and a source that sends only what the test says. */
final class ServedProcess implements AutoCloseable {

  private static final long PATIENCE_SECONDS = 10;

  final ScratchProcess process;
  final RamFile file;
  final FaultServing serving;
  final BlockingQueue<DestinationEvent> events = new LinkedBlockingQueue<>();

  /** The pages that were asked for, in order. */
  final BlockingQueue<Integer> requests = new LinkedBlockingQueue<>();

  /** The acknowledgements that came. */
  final BlockingQueue<Long> acks = new LinkedBlockingQueue<>();

  private final IoEventLoopGroup loops = EventLoops.named("served", 4);
  private final Userfaultfd userfaultfd;
  private final Connection demand;
  private final Connection bulk;

  /** The end that faults are read and asked for at. */
  private final Connection demandThere;

  private ServedProcess(ScratchProcess process, RamFile file, RamFile fileAgain) {
    this.process = process;
    this.file = file;
    userfaultfd = process.takeUserfaultfd(process.injectUserfaultfd());
    userfaultfd.registerMissing(process.range());
    SocketPair demandPair = UnixSockets.socketPair();
    SocketPair bulkPair = UnixSockets.socketPair();
    demandThere = adopt(demandPair.first().release(), cause -> {});
    Connection bulkThere = adopt(bulkPair.first().release(), cause -> {});
    RamLayout layout = new RamLayout(List.of(new RamBlock("m", process.range().byteLength())));
    serving =
        new FaultServing(
            GuestRam.at(layout, process.range().start().value()),
            userfaultfd,
            new PageStates(layout.pageCount()),
            new FaultTimes(),
            events::add);
    serving.letPagesBeTakenBack(List.of(fileAgain));
    serving.connect(demandThere, bulkThere, new DeviceStateFeeder(bulkThere), events::add);
    Peer peer = new Peer();
    demand = adopt(demandPair.second().release(), peer);
    bulk = adopt(bulkPair.second().release(), peer);
  }

  /** A process with a memfd. */
  static ServedProcess start(int pageCount) {
    ScratchProcess process = ScratchProcess.withMemfd((long) pageCount * RamLayout.PAGE_BYTES);
    return new ServedProcess(process, process.openMemfd(), process.openMemfd());
  }

  /** A process with a file of its own. */
  static ServedProcess start(int pageCount, Path path) {
    long byteLength = (long) pageCount * RamLayout.PAGE_BYTES;
    ScratchProcess process = ScratchProcess.withFile(byteLength, path.toString());
    RamMapping mapping = RamMapping.locate(process.pid(), "m", path.toString(), byteLength);
    return new ServedProcess(process, mapping.open(true), mapping.open(true));
  }

  private Connection adopt(int socket, FrameSink sink) {
    return Transport.adopt(loops.next(), socket, made -> sink);
  }

  /** Lets the loop that reads the faults stand still until it is told to go on. */
  CountDownLatch holdFaults() {
    CountDownLatch goOn = new CountDownLatch(1);
    demandThere
        .eventLoop()
        .execute(
            () -> {
              try {
                goOn.await();
              } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
              }
            });
    return goOn;
  }

  /** The source is not there any more. */
  void loseSource() {
    serving.disconnect();
  }

  /**
   * The source comes back on a pair of its own.
   *
   * @param onHeard told of its end of the bulk connection, on its loop, as soon as it has heard
   *     what is here
   */
  void connectAgain(Consumer<Connection> onHeard) {
    SocketPair demandPair = UnixSockets.socketPair();
    SocketPair bulkPair = UnixSockets.socketPair();
    Connection itsBulk = adopt(bulkPair.second().release(), new Peer());
    adopt(demandPair.second().release(), new Returned(() -> onHeard.accept(itsBulk)));
    Connection demandAgain =
        Transport.adopt(demandThere.eventLoop(), demandPair.first().release(), made -> cause -> {});
    Connection bulkAgain = adopt(bulkPair.first().release(), cause -> {});
    serving.connectAgain(
        new DestinationLink(
            demandAgain,
            bulkAgain,
            1,
            new LinkEvents<>(events, DestinationEvent.OfLink.class::isInstance)));
  }

  private record Returned(Runnable onHeard) implements FrameSink {
    @Override
    public void onReceived(int first, int count, ByteBuf bits) {}

    @Override
    public void onRequest(int first, int count) {}

    @Override
    public void onControl(ControlFrame frame) {
      if (frame instanceof ControlFrame.ReceivedEnd) {
        onHeard.run();
      }
    }

    @Override
    public void onClosed(CloseCause cause) {}
  }

  void sendOnDemand(int first, int count, long word) {
    send(demand, first, count, word);
  }

  void sendOnBulk(int first, int count, long word) {
    send(bulk, first, count, word);
  }

  /** Takes back those of the pages from {@code first} on whose bit is set. */
  void takeBack(int first, int count, int bits) {
    bulk.eventLoop()
        .submit(
            () -> {
              ByteBuf frame = bulk.writer().beginDiscard(first, count);
              for (int i = 0; i < (count + 7) / 8; i++) {
                frame.writeByte(bits >> (8 * i));
              }
              bulk.write(bulk.writer().seal(frame));
              bulk.flush();
            })
        .syncUninterruptibly();
  }

  static void send(Connection connection, int first, int count, long word) {
    connection
        .eventLoop()
        .submit(
            () -> {
              if (word == 0) {
                connection.write(connection.writer().zero(first, count));
              } else {
                ByteBuf frame = connection.writer().beginPages(first, count);
                for (int i = 0; i < count * RamLayout.PAGE_BYTES / Long.BYTES; i++) {
                  frame.writeLongLE(word);
                }
                connection.write(connection.writer().seal(frame));
              }
              connection.flush();
            })
        .syncUninterruptibly();
  }

  /** The next of {@code queue}, or null where none comes. */
  static <T> @Nullable T next(BlockingQueue<T> queue) {
    try {
      return queue.poll(PATIENCE_SECONDS, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  /** Ends the process first: nobody must go on because its userfaultfd was closed. */
  @Override
  public void close() {
    process.kill();
    serving.stop();
    demand.close();
    bulk.close();
    EventLoops.shutDown(loops);
    loops.terminationFuture().awaitUninterruptibly(PATIENCE_SECONDS, TimeUnit.SECONDS);
    userfaultfd.close();
    file.close();
    process.close();
  }

  private final class Peer implements FrameSink {
    @Override
    public void onRequest(int first, int count) {
      for (int page = first; page < first + count; page++) {
        requests.add(page);
      }
    }

    @Override
    public void onAck(long frames) {
      acks.add(frames);
    }

    @Override
    public void onClosed(CloseCause cause) {}
  }
}
