package dev.postcopy.dest.session;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.FrameWriter;
import dev.postcopy.wire.Wire;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.UnpooledByteBufAllocator;
import io.netty.channel.Channel;
import io.netty.channel.IoEventLoopGroup;
import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Who connects and is no source. */
@Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class GreetingTest {

  private static final Duration PATIENCE = Duration.ofSeconds(5);
  private static final Duration MARGIN = Duration.ofSeconds(4);
  private static final int FLOOD = 1000;
  private static final int MOST_HEARD = 16;

  private final IoEventLoopGroup loops = EventLoops.named("greeting", 2);
  private final BlockingQueue<DestinationEvent> events = new LinkedBlockingQueue<>();
  private final Channel listening =
      Transport.listen(
          loops,
          loops,
          HostAndPort.parse("127.0.0.1:0"),
          Optional.empty(),
          made -> new Greeting(made, greeted -> events));
  private final List<Socket> peers = new ArrayList<>();

  @AfterEach
  void close() throws IOException {
    for (Socket peer : peers) {
      peer.close();
    }
    listening.close().syncUninterruptibly();
    EventLoops.shutDown(loops);
  }

  private Socket connect() throws IOException {
    Socket peer =
        new Socket(InetAddress.getLoopbackAddress(), Transport.localAddress(listening).getPort());
    peer.setTcpNoDelay(true);
    peers.add(peer);
    return peer;
  }

  private static byte[] hello() {
    ByteBuf frame =
        new FrameWriter(UnpooledByteBufAllocator.DEFAULT)
            .control(
                new ControlFrame.Hello(
                    Wire.VERSION, new UUID(1, 2), ConnectionRole.BULK, 0, "", List.of()));
    try {
      return ByteBufUtil.getBytes(frame);
    } finally {
      frame.release();
    }
  }

  /** Whether the other end closes the connection in time. */
  private static boolean isClosedWithin(Socket peer, Duration time) throws IOException {
    peer.setSoTimeout((int) Math.max(1, time.toMillis()));
    try {
      return peer.getInputStream().read() == -1;
    } catch (SocketTimeoutException e) {
      return false;
    } catch (IOException e) {
      return true; // reset, with something of ours unread
    }
  }

  @Test
  void closesOnWhoSaysNothing() throws IOException {
    Socket silent = connect();

    assertThat(isClosedWithin(silent, PATIENCE.minusSeconds(1))).as("at once").isFalse();
    assertThat(isClosedWithin(silent, MARGIN)).as("in the end").isTrue();
    assertThat(events).isEmpty();
  }

  @Test
  void closesOnWhoSaysAByteNowAndThen() throws IOException {
    Socket slow = connect();
    byte[] hello = hello();
    int sent = 0;
    boolean closed = false;
    try {
      for (; sent < hello.length && !closed; sent++) {
        slow.getOutputStream().write(hello[sent]);
        closed = isClosedWithin(slow, Duration.ofMillis(300));
      }
    } catch (IOException e) {
      closed = true;
    }

    assertThat(closed).isTrue();
    assertThat(sent).as("bytes of %d", hello.length).isLessThan(hello.length);
    assertThat(events).isEmpty();
  }

  @Test
  void closesAtOnceOnWhatIsNotHello() throws IOException {
    Random random = new Random(20260101);
    for (int round = 0; round < 20; round++) {
      byte[] bytes = new byte[12 + random.nextInt(200)];
      random.nextBytes(bytes);
      Socket peer = connect();
      peer.getOutputStream().write(bytes);
      assertThat(isClosedWithin(peer, PATIENCE.minusSeconds(1))).as("round %d", round).isTrue();
      peer.close();
    }
    assertThat(events).isEmpty();
  }

  @Test
  void hearsTheNextHoweverManyAreKnown() throws Exception {
    for (int i = 0; i < 3 * MOST_HEARD; i++) {
      connect().getOutputStream().write(hello());
      DestinationEvent event = events.poll(PATIENCE.toSeconds(), TimeUnit.SECONDS);
      assertThat(event).as("connection %d", i).isInstanceOf(DestinationEvent.Greeted.class);
      if (event instanceof DestinationEvent.Greeted greeted) {
        greeted.connection().markKnown();
      }
    }
    for (Socket peer : peers) {
      assertThat(isClosedWithin(peer, Duration.ofMillis(10))).as("sent away").isFalse();
    }
  }

  @Test
  void keepsNothingOfWhoGreetsAndGoes() throws Exception {
    for (int i = 0; i < FLOOD; i++) {
      try (Socket peer = connect()) {
        peer.getOutputStream().write(hello());
      }
    }
    // Empty once says nothing: the next of them may not have been accepted yet.
    int emptyInARow = 0;
    long deadline = System.nanoTime() + PATIENCE.plus(MARGIN).toNanos();
    while (emptyInARow < 50 && System.nanoTime() < deadline) {
      emptyInARow = events.isEmpty() ? emptyInARow + 1 : 0;
      Thread.sleep(20);
    }
    assertThat(emptyInARow).as("looks in a row that found nothing kept").isEqualTo(50);
  }

  @Test
  void hearsFewOfAThousandAndTheSourceWhenTheyAreGone() throws Exception {
    for (int i = 0; i < FLOOD; i++) {
      connect();
    }
    int sentAway = 0;
    for (Socket peer : peers) {
      sentAway += isClosedWithin(peer, Duration.ofMillis(100)) ? 1 : 0;
    }
    assertThat(sentAway).as("sent away at once").isEqualTo(FLOOD - MOST_HEARD);
    for (Socket peer : peers) {
      assertThat(isClosedWithin(peer, PATIENCE.plus(MARGIN))).as("sent away").isTrue();
    }

    connect().getOutputStream().write(hello());

    assertThat(events.poll(PATIENCE.toSeconds(), TimeUnit.SECONDS))
        .isInstanceOf(DestinationEvent.Greeted.class);
  }
}
