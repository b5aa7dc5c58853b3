package dev.postcopy.source.session;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.source.page.ScratchGuest;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.FrameMutator;
import dev.postcopy.wire.FrameWriter;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.UnpooledByteBufAllocator;
import io.netty.channel.IoEventLoopGroup;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Whatever a destination says, the source sends pages of the guest and nothing else, holds little
 * for a peer that does not read, and ends the connection with a line that names the cause.
 *
 * <p>{@code fuzz.destinations} is how many destinations there are, {@code fuzz.seed} what they say.
 */
@Timeout(value = 900, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class HostileDestinationTest {

  private static final int DESTINATIONS = Integer.getInteger("fuzz.destinations", 500);
  private static final long SEED = Long.getLong("fuzz.seed", 20260101);

  /** As in RequestHandler. */
  private static final int MAX_WAITING_PAGES = 1 << 19;

  private static final IoEventLoopGroup LOOPS = EventLoops.named("hostile", 4);
  private static final FrameWriter FRAMES = new FrameWriter(UnpooledByteBufAllocator.DEFAULT);

  @AfterAll
  static void shutDown() {
    EventLoops.shutDown(LOOPS);
  }

  private static byte[] bytes(ByteBuf frame) {
    try {
      return ByteBufUtil.getBytes(frame);
    } finally {
      frame.release();
    }
  }

  private static byte[] request(int first, int count) {
    return bytes(FRAMES.request(first, count));
  }

  /** What a destination may say, and what it may say elsewhere, of a guest of 96 pages. */
  private static List<byte[]> trueFrames() {
    List<byte[]> frames = new ArrayList<>();
    for (int page : new int[] {0, 1, 63, 64, 95}) {
      frames.add(request(page, 1));
    }
    frames.add(request(0, 64));
    frames.add(request(60, 4));
    frames.add(request(60, 5));
    frames.add(request(95, 2));
    frames.add(request(96, 1));
    frames.add(request(Integer.MAX_VALUE, 64));
    for (int count = 0; count < 8; count++) {
      frames.add(bytes(FRAMES.ack(count)));
    }
    frames.add(bytes(FRAMES.pong(0)));
    frames.add(bytes(FRAMES.ping(7)));
    frames.add(bytes(FRAMES.zero(0, 64)));
    frames.add(bytes(FRAMES.seal(FRAMES.beginPages(3, 1).writeZero(4096))));
    frames.add(bytes(FRAMES.seal(FRAMES.beginDeviceState(8).writeLong(1))));
    frames.add(bytes(FRAMES.control(new ControlFrame.Loaded())));
    frames.add(bytes(FRAMES.control(new ControlFrame.Running())));
    frames.add(bytes(FRAMES.control(new ControlFrame.Commit(true))));
    frames.add(bytes(FRAMES.control(new ControlFrame.Abort("no"))));
    return frames;
  }

  @Test
  void sendsTheGuestsPagesOnlyAndNamesWhatWasWrong() throws InterruptedException {
    FrameMutator mutator = new FrameMutator(SEED, trueFrames());
    Map<String, Integer> causes = new TreeMap<>();
    try (ScratchGuest guest = new ScratchGuest(64, 32)) {
      guest.writeData(0, 40);
      guest.writeZeros(40, 50);
      guest.writeData(70, 80);
      int allocated = guest.allocatedPages();
      for (int round = 0; round < DESTINATIONS; round++) {
        try (HostileDestination destination = new HostileDestination(LOOPS, guest.memory)) {
          destination.serving.startMeasuring();
          if (!mutator.oneIn(4)) {
            destination.serving.startAnswering();
            destination.serving.startPushing();
          }
          for (int i = 0; i < 8; i++) {
            Connection connection = mutator.oneIn(2) ? destination.bulk : destination.demand;
            HostileDestination.say(
                connection, mutator.oneIn(4) ? mutator.brokenFrame() : mutator.trueFrame());
          }
          for (String cause : destination.hangUp()) {
            assertThat(cause)
                .as("seed %d, round %d", SEED, round)
                .matches("(protocol error: |the peer closed|the connection broke).*");
            causes.merge(cause.replaceAll("\\d+", "N"), 1, Integer::sum);
          }
          assertThat(destination.wrongPages).as("seed %d, round %d", SEED, round).hasValue(0);
        }
      }
      assertThat(guest.allocatedPages()).as("holes that were read").isEqualTo(allocated);
    }
    assertThat(causes)
        .containsKeys(
            "protocol error: request for pages N+N",
            "protocol error: N frames acknowledged of N written",
            "protocol error: a PONG that nobody asked for",
            "protocol error: unexpected PAGES frame",
            "protocol error: unexpected REQUEST frame",
            "protocol error: unexpected ACK frame",
            "the peer closed the connection");
  }

  /** All requests arrive at once, in a few kilobytes; their answers would be the whole guest. */
  @Test
  void makesNoMoreAnswersThanAreReadForAPeerThatAsksForEverything() throws InterruptedException {
    int pages = 4096;
    try (ScratchGuest guest = new ScratchGuest(pages)) {
      guest.writeData(0, pages);
      try (HostileDestination destination = new HostileDestination(LOOPS, guest.memory)) {
        destination.demand.setReading(false);
        destination.serving.startAnswering();
        for (int asked = 0; asked < 2 * MAX_WAITING_PAGES; asked += pages) {
          HostileDestination.say(destination.demand, requests(0, pages));
        }

        requireFewAnswers(destination, 0);
        assertThat(destination.events).as("more was read than may wait").isEmpty();
      }
    }
  }

  private static void requireFewAnswers(HostileDestination destination, long before)
      throws InterruptedException {
    while (destination.serving.bytesSent() == before) {
      Thread.sleep(1);
    }
    Thread.sleep(100);
    assertThat(destination.serving.bytesSent() - before).as("bytes of answers").isLessThan(1 << 20);
  }

  /** A page that is behind the file's end is not zero: it is lost, by a SIGBUS or as no hole. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void sendsNothingOfATruncatedFileInPlaceOfWhatWasThere(boolean pushes) throws Exception {
    try (ScratchGuest guest = new ScratchGuest(64)) {
      guest.writeData(0, 64);
      try (HostileDestination destination = new HostileDestination(LOOPS, guest.memory)) {
        guest.truncate(0, 8);
        destination.serving.startAnswering();
        if (pushes) {
          destination.serving.startPushing();
        } else {
          HostileDestination.say(destination.demand, request(40, 1));
        }

        assertThat(destination.events.poll(10, TimeUnit.SECONDS))
            .isEqualTo(
                new SourceEvent.ServingFailed(
                    "the guest's RAM file was truncated: what was not sent is lost"));
        assertThat(destination.wrongPages).hasValue(0);
        assertThat(destination.zeroRuns).isEmpty();
      }
    }
  }

  /** Also where more wait than usually do, behind some that are answered. */
  @Test
  void answersInOrderOnceThePeerReads() throws InterruptedException {
    int pages = 7000;
    try (ScratchGuest guest = new ScratchGuest(pages)) {
      guest.writeData(0, pages);
      try (HostileDestination destination = new HostileDestination(LOOPS, guest.memory)) {
        destination.serving.startAnswering();
        askAndReadLater(destination, 0, 1000);
        askAndReadLater(destination, 1000, pages);
        assertThat(destination.wrongPages).hasValue(0);
        // Read again, too.
        HostileDestination.say(destination.demand, request(pages, 1));
        assertThat(destination.events.poll(10, TimeUnit.SECONDS))
            .isEqualTo(
                new SourceEvent.ConnectionLost(
                    new CloseCause.Violation("request for pages 7000+1")));
      }
    }
  }

  private static void askAndReadLater(HostileDestination destination, int first, int end)
      throws InterruptedException {
    destination.demand.setReading(false);
    long before = destination.serving.bytesSent();
    HostileDestination.say(destination.demand, requests(first, end));
    requireFewAnswers(destination, before);
    destination.demand.setReading(true);
    for (int page = first; page < end; page++) {
      assertThat(destination.answers.poll(10, TimeUnit.SECONDS)).isEqualTo(page);
    }
  }

  private static byte[] requests(int from, int end) {
    ByteBuf all = UnpooledByteBufAllocator.DEFAULT.buffer();
    for (int first = from; first < end; first += 64) {
      all.writeBytes(request(first, Math.min(64, end - first)));
    }
    return bytes(all);
  }
}
