package dev.postcopy.dest.session;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.cli.HostAndPort;
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
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Over TCP: what waits in the socket is not left there. */
@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class PushReadingTest {

  private static final int PAGE = RamLayout.PAGE_BYTES;
  private static final int CONNECT_MILLIS = 5000;

  private final IoEventLoopGroup loops = EventLoops.named("reading", 1);
  private final IoEventLoopGroup peerLoops = EventLoops.named("source", 1);
  private final BlockingQueue<Integer> arrived = new LinkedBlockingQueue<>();
  private final BlockingQueue<CloseCause> causes = new LinkedBlockingQueue<>();
  private volatile boolean closesAtBatchEnd;
  private final Channel listening =
      Transport.listen(
          loops, loops, new HostAndPort("127.0.0.1", 0), Optional.empty(), Reading::new);

  private final Connection source = connect();

  private Connection connect() {
    try {
      return Transport.connect(
          peerLoops,
          Transport.localAddress(listening),
          CONNECT_MILLIS,
          Optional.empty(),
          made -> cause -> {});
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @AfterEach
  void shutDown() {
    source.closeAndWait();
    listening.close().awaitUninterruptibly();
    EventLoops.shutDown(loops);
    EventLoops.shutDown(peerLoops);
  }

  private final class Reading implements FrameSink {
    private final Connection made;
    private final PushReading reading;

    Reading(Connection made) {
      this.made = made;
      reading = new PushReading(made);
    }

    @Override
    public void onPages(int first, int count, ByteBuf content) {
      arrived.add(first);
    }

    @Override
    public void onBatchEnd() {
      if (closesAtBatchEnd) {
        made.close();
        made.awaitBytes(1);
      }
      reading.awaitBatch();
    }

    @Override
    public void onClosed(CloseCause cause) {
      reading.end();
      causes.add(cause);
      arrived.add(-1);
    }
  }

  private void send(int first, int count) {
    source.execute(
        () -> {
          source.write(pages(first, count));
          source.flush();
        });
  }

  private ByteBuf pages(int first, int count) {
    ByteBuf frame = source.writer().beginPages(first, count);
    frame.writeZero(count * PAGE);
    return source.writer().seal(frame);
  }

  private int next() throws InterruptedException {
    Integer first = arrived.poll(10, TimeUnit.SECONDS);
    return first == null ? Integer.MAX_VALUE : first;
  }

  @Test
  void aPageBehindALargeBatchIsReadThoughNoOtherFollows() throws Exception {
    for (int round = 0; round < 10; round++) {
      send(2 * round, 64);
      assertThat(next()).as("a large batch").isEqualTo(2 * round);
      send(2 * round + 1, 1);
      assertThat(next()).as("a page that nothing follows").isEqualTo(2 * round + 1);
    }
  }

  @Test
  void theConnectionsEndIsSeenBehindALargeBatch() throws Exception {
    send(0, 64);
    assertThat(next()).isZero();
    send(1, 1);
    source.close();
    assertThat(next()).as("what came before the end").isEqualTo(1);
    assertThat(next()).as("the end").isEqualTo(-1);
  }

  @Test
  void aConnectionThatWasClosedHereIsAskedForNothingMore() throws Exception {
    closesAtBatchEnd = true;
    send(0, 64);
    assertThat(causes.poll(10, TimeUnit.SECONDS))
        .as("what was awaited of a socket that is gone is no failure of the migration")
        .isInstanceOf(CloseCause.Ended.class);
  }
}
