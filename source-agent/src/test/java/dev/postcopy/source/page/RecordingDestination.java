package dev.postcopy.source.page;

import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.FrameSink;
import io.netty.buffer.ByteBuf;
import io.netty.channel.IoEventLoopGroup;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** The other end of one connection of a source: writes down what arrives, says what it is told. */
final class RecordingDestination implements FrameSink {

  private static final long PATIENCE_SECONDS = 10;
  private static final long QUIET_MILLIS = 300;

  /** A frame that came. */
  record Frame(Kind kind, int first, int count) {

    /** What it says of its pages: their content, which was right; that they are zero, or old. */
    enum Kind {
      DATA,
      ZERO,
      DISCARD
    }

    static Frame data(int first, int count) {
      return new Frame(Kind.DATA, first, count);
    }

    static Frame zero(int first, int count) {
      return new Frame(Kind.ZERO, first, count);
    }

    static Frame discard(int first, int count) {
      return new Frame(Kind.DISCARD, first, count);
    }
  }

  final BlockingQueue<Frame> frames = new LinkedBlockingQueue<>();

  /** What was wrong with what arrived. */
  final BlockingQueue<String> errors = new LinkedBlockingQueue<>();

  /** Why the source closed the connection, from its own end. */
  final BlockingQueue<String> closedThere = new LinkedBlockingQueue<>();

  private final Connection source;
  private final Connection here;
  private long framesSeen;
  private boolean acknowledging;

  /**
   * @param sourceSink makes what takes the frames at the source's end
   */
  RecordingDestination(IoEventLoopGroup loops, Function<Connection, SourceEnd> sourceSink) {
    SocketPair pair = UnixSockets.socketPair();
    source =
        Transport.adopt(
            loops.next(),
            pair.first().release(),
            made -> new Tapped(sourceSink.apply(made), closedThere));
    here = Transport.adopt(loops.next(), pair.second().release(), made -> this);
  }

  /** What a source does with requests and acknowledgements. */
  interface SourceEnd {
    default void onRequest(int first, int count) {
      throw new UnsupportedOperationException();
    }

    default void onAck(long frames) {
      throw new UnsupportedOperationException();
    }

    void onBatchEnd();

    default void onWritable() {}

    default void onClosed() {}
  }

  private record Tapped(SourceEnd end, BlockingQueue<String> closed) implements FrameSink {
    @Override
    public void onRequest(int first, int count) {
      end.onRequest(first, count);
    }

    @Override
    public void onAck(long frames) {
      end.onAck(frames);
    }

    @Override
    public void onBatchEnd() {
      end.onBatchEnd();
    }

    @Override
    public void onWritable() {
      end.onWritable();
    }

    @Override
    public void onClosed(CloseCause cause) {
      end.onClosed();
      closed.add(cause.text());
    }
  }

  /** Runs {@code task} on the source's loop of this connection and waits for its end. */
  void atSource(Runnable task) {
    source.eventLoop().submit(task).syncUninterruptibly();
  }

  /** As {@link #atSource}, without waiting. */
  void startAtSource(Runnable task) {
    source.eventLoop().execute(task);
  }

  void request(int first, int count) {
    here.eventLoop()
        .submit(
            () -> {
              here.write(here.writer().request(first, count));
              here.flush();
            })
        .syncUninterruptibly();
  }

  void acknowledge(long count) {
    here.eventLoop()
        .submit(
            () -> {
              here.write(here.writer().ack(count));
              here.flush();
            })
        .syncUninterruptibly();
  }

  /** From now on acknowledges all that came, and whatever comes. */
  void acknowledgeAll() {
    here.eventLoop()
        .submit(
            () -> {
              acknowledging = true;
              here.write(here.writer().ack(framesSeen));
              here.flush();
            })
        .syncUninterruptibly();
  }

  /** From now on acknowledges nothing that comes. */
  void acknowledgeNoMore() {
    here.eventLoop().submit(() -> acknowledging = false).syncUninterruptibly();
  }

  /** Asks for one page without waiting until that was sent. */
  void startRequest(int page) {
    here.eventLoop()
        .execute(
            () -> {
              here.write(here.writer().request(page, 1));
              here.flush();
            });
  }

  /** The next frame, or null where none comes within some seconds. */
  @Nullable Frame next() {
    return poll(frames, TimeUnit.SECONDS.toMillis(PATIENCE_SECONDS));
  }

  /** Whether nothing more comes for a while. */
  boolean isQuiet() {
    return poll(frames, QUIET_MILLIS) == null;
  }

  /** What comes until nothing more does. */
  List<Frame> untilQuiet() {
    List<Frame> all = new ArrayList<>();
    for (Frame frame = poll(frames, QUIET_MILLIS);
        frame != null;
        frame = poll(frames, QUIET_MILLIS)) {
      all.add(frame);
    }
    return all;
  }

  static <T> @Nullable T poll(BlockingQueue<T> queue, long millis) {
    try {
      return queue.poll(millis, TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  /** Closes both ends; the source's memory is not read any more when this returns. */
  void close() {
    for (Connection connection : new Connection[] {source, here}) {
      connection.close();
      connection.handOver(cause -> {});
    }
  }

  @Override
  public void onPages(int first, int count, ByteBuf pages) {
    framesSeen++;
    if (!ScratchGuest.isContentOf(first, count, pages)) {
      errors.add("wrong content in pages %d+%d".formatted(first, count));
    }
    frames.add(Frame.data(first, count));
  }

  @Override
  public void onZero(int first, int count) {
    framesSeen++;
    frames.add(Frame.zero(first, count));
  }

  @Override
  public void onDiscard(int first, int count, ByteBuf bits) {
    framesSeen++;
    frames.add(Frame.discard(first, count));
  }

  @Override
  public void onBatchEnd() {
    if (acknowledging) {
      here.write(here.writer().ack(framesSeen));
      here.flush();
    }
  }

  @Override
  public void onClosed(CloseCause cause) {}
}
