package dev.postcopy.source.session;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.memory.PageBitmap;
import dev.postcopy.source.page.RequestHandler;
import dev.postcopy.source.page.ScratchGuest;
import dev.postcopy.source.page.SentPages;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.Transport;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.IoEventLoopGroup;
import java.util.BitSet;
import java.util.Random;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class DemandSinkTest {

  private static final int PAGES = 2000;
  private static final IoEventLoopGroup LOOPS = EventLoops.named("demand", 1);

  @AfterAll
  static void shutDown() {
    EventLoops.shutDown(LOOPS);
  }

  private static void tell(PageBitmap received, int first, int count, ByteBuf bits) {
    SocketPair pair = UnixSockets.socketPair();
    pair.second().close();
    try (ScratchGuest guest = new ScratchGuest(PAGES)) {
      Connection demand =
          Transport.adopt(LOOPS.next(), pair.first().release(), made -> cause -> {});
      new DemandSink(
              new RequestHandler(guest.memory, new SentPages(PAGES), demand),
              new RoundTripMeter(demand, nanos -> {}, now -> 0),
              received,
              event -> {})
          .onReceived(first, count, bits);
      demand.closeAndWait();
    }
  }

  /** The bits that the last byte has beside those of pages are the destination's own affair. */
  @ParameterizedTest(name = "{1} pages from {0} on")
  @CsvSource({"0,1", "0,64", "0,2000", "3,64", "3,65", "64,7", "70,130", "63,1900", "1936,64"})
  void takesTheBitsOfExactlyThePagesThatAFrameIsAbout(int first, int count) {
    byte[] random = new byte[(count + 7) / 8];
    new Random(count).nextBytes(random);
    random[random.length - 1] = -1;
    PageBitmap received = new PageBitmap(PAGES);

    tell(received, first, count, Unpooled.wrappedBuffer(random));

    BitSet told = BitSet.valueOf(random);
    for (int page = 0; page < PAGES; page++) {
      assertThat(received.get(page))
          .as("page %d", page)
          .isEqualTo(page >= first && page < first + count && told.get(page - first));
    }
  }
}
