package dev.postcopy.dest.session;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.dest.page.PageStates;
import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.LinkEvents;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameSink;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.channel.IoEventLoopGroup;
import java.util.BitSet;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(30)
class DestinationLinkTest {

  private static final IoEventLoopGroup LOOPS = EventLoops.named("link", 2);

  @AfterAll
  static void shutDown() {
    EventLoops.shutDown(LOOPS);
  }

  /** What a source hears of the pages that are here. */
  private static final class Told implements FrameSink {

    final BitSet pages = new BitSet();
    final CompletableFuture<ControlFrame> end = new CompletableFuture<>();
    int frames;

    @Override
    public void onReceived(int first, int count, ByteBuf bits) {
      frames++;
      assertThat(bits.readableBytes()).isEqualTo((count + 7) / 8);
      BitSet.valueOf(ByteBufUtil.getBytes(bits)).stream().forEach(at -> pages.set(first + at));
    }

    @Override
    public void onControl(ControlFrame frame) {
      end.complete(frame);
    }

    @Override
    public void onClosed(CloseCause cause) {
      end.completeExceptionally(new AssertionError(cause.text()));
    }
  }

  @ParameterizedTest(name = "{0} pages")
  @ValueSource(ints = {1, 7, 64, 65, 1001, (1 << 20) + 77})
  void theSourceIsToldOfExactlyThePagesThatAreHere(int pageCount) throws Exception {
    Random random = new Random(pageCount);
    PageStates pages = new PageStates(pageCount);
    BitSet here = new BitSet();
    for (int page = 0; page < pageCount; page++) {
      if (page == pageCount - 1 || random.nextBoolean()) {
        pages.addPresent(page, 1);
        here.set(page);
      }
    }
    SocketPair pair = UnixSockets.socketPair();
    Told told = new Told();
    Connection source = Transport.adopt(LOOPS.next(), pair.first().release(), made -> told);
    Connection demand = Transport.adopt(LOOPS.next(), pair.second().release(), made -> cause -> {});
    DestinationLink link =
        new DestinationLink(
            demand, demand, 1, new LinkEvents<>(new ConcurrentLinkedQueue<>(), event -> true));

    link.tellReceived(pages);

    assertThat(told.end.get(10, TimeUnit.SECONDS))
        .isEqualTo(new ControlFrame.ReceivedEnd(here.cardinality(), 0));
    assertThat(told.pages).isEqualTo(here);
    assertThat(told.frames).isEqualTo(1 + ((pageCount - 1) >> 20));
    source.closeAndWait();
    link.close();
  }
}
