package dev.postcopy.dest.session;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.Transport;
import io.netty.channel.IoEventLoopGroup;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A connection that is lost while it changes hands is lost for the one that it was meant for. */
@Timeout(30)
class HandOverTest {

  private final IoEventLoopGroup loops = EventLoops.named("hand-over", 1);

  @AfterEach
  void shutDown() {
    EventLoops.shutDown(loops);
  }

  @Test
  void tellsTheNextSinkThatTheConnectionIsGoneAlready() throws InterruptedException {
    SocketPair pair = UnixSockets.socketPair();
    CountDownLatch firstTold = new CountDownLatch(1);
    CountDownLatch secondTold = new CountDownLatch(1);
    Connection connection =
        Transport.adopt(
            loops.next(), pair.first().release(), made -> cause -> firstTold.countDown());
    pair.second().close();
    assertThat(firstTold.await(5, TimeUnit.SECONDS)).isTrue();

    connection.handOver(cause -> secondTold.countDown());

    assertThat(secondTold.await(1, TimeUnit.SECONDS)).isTrue();
  }
}
