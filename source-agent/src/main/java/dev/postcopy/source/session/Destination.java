package dev.postcopy.source.session;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.source.page.BackgroundPusher;
import dev.postcopy.source.page.RequestHandler;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameSink;
import io.netty.channel.EventLoopGroup;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.concurrent.BlockingQueue;
import java.util.function.Function;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The two connections to the destination, and where the frames that arrive on them go. */
final class Destination {

  private static final Logger log = LoggerFactory.getLogger(Destination.class);
  private static final int RETRY_MILLIS = 100;

  private final InetSocketAddress address;
  private final BlockingQueue<SourceEvent> events;

  Destination(HostAndPort to, BlockingQueue<SourceEvent> events) {
    this.address = to.resolve();
    this.events = events;
  }

  /** Connects the demand connection; tries again for {@code patience} while nobody answers. */
  Connection connectDemand(
      EventLoopGroup loop, Duration patience, Function<Connection, RequestHandler> requests)
      throws MigrationFailedException {
    return connect(loop, patience, connection -> new DemandSink(requests.apply(connection)));
  }

  /** Connects the bulk connection, which comes second. */
  Connection connectBulk(
      EventLoopGroup loop, Duration patience, Function<Connection, BackgroundPusher> pusher)
      throws MigrationFailedException {
    return connect(loop, patience, connection -> new BulkSink(pusher.apply(connection)));
  }

  private Connection connect(
      EventLoopGroup loop, Duration patience, Function<Connection, FrameSink> opened)
      throws MigrationFailedException {
    long deadline = System.nanoTime() + patience.toNanos();
    while (true) {
      int timeoutMillis =
          (int)
              Math.max(1, Math.min(patience.toMillis(), (deadline - System.nanoTime()) / 1000000));
      try {
        return Transport.connect(loop, address, timeoutMillis, opened);
      } catch (IOException e) {
        log.debug("connect: {}", e.getMessage());
        if (System.nanoTime() >= deadline) {
          throw new MigrationFailedException(
              "no destination agent at %s within %d s (%s)"
                  .formatted(address, patience.toSeconds(), e.getMessage()));
        }
      }
      pause();
    }
  }

  private static void pause() throws MigrationFailedException {
    try {
      Thread.sleep(RETRY_MILLIS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new MigrationFailedException("interrupted");
    }
  }

  /** Requests, and the destination's side of the conversation. */
  private final class DemandSink implements FrameSink {

    private final RequestHandler requests;

    DemandSink(RequestHandler requests) {
      this.requests = requests;
    }

    @Override
    public void onRequest(int first, int count) {
      requests.onRequest(first, count);
    }

    @Override
    public void onControl(ControlFrame frame) {
      events.add(new SourceEvent.Said(frame));
    }

    @Override
    public void onBatchEnd() {
      requests.onBatchEnd();
    }

    @Override
    public void onClosed(String cause) {
      events.add(new SourceEvent.ConnectionLost(cause));
    }
  }

  /** Acknowledgements, and the welcome of the bulk connection. */
  private final class BulkSink implements FrameSink {

    private final BackgroundPusher pusher;

    BulkSink(BackgroundPusher pusher) {
      this.pusher = pusher;
    }

    @Override
    public void onAck(long frames) {
      pusher.onAck(frames);
    }

    @Override
    public void onControl(ControlFrame frame) {
      events.add(new SourceEvent.Said(frame));
    }

    @Override
    public void onBatchEnd() {
      pusher.pump();
    }

    @Override
    public void onWritable() {
      pusher.pump();
    }

    @Override
    public void onClosed(String cause) {
      events.add(new SourceEvent.ConnectionLost(cause));
    }
  }
}
