package dev.postcopy.source.page;

import static dev.postcopy.source.page.ScratchGuest.PAGE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.memory.PageBitmap;
import dev.postcopy.source.page.BackgroundPusher.PushOrder;
import dev.postcopy.source.page.RecordingDestination.Frame;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.wire.ProtocolException;
import io.netty.channel.IoEventLoopGroup;
import java.time.Duration;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What the source puts on its two connections, for which page, and how often. */
@Timeout(60)
class SendingTest {

  private static final Duration PATIENCE = Duration.ofSeconds(60);
  private static final int WINDOW_BYTES = 256 * 1024;

  /** As in BackgroundPusher. */
  private static final int PAGES_PER_FRAME = 4;

  /** As in BackgroundPusher. */
  private static final int MAX_FRAMES_IN_FLIGHT = 4096;

  /** As in RequestHandler. */
  private static final int MAX_WAITING_PAGES = 1 << 19;

  private static final int FRAME_BYTES = 12 + 8 + PAGES_PER_FRAME * PAGE;
  private static final IoEventLoopGroup LOOPS = EventLoops.named("sending", 4);

  private @Nullable Source opened;

  @AfterAll
  static void shutDown() {
    EventLoops.shutDown(LOOPS);
  }

  @AfterEach
  void close() {
    if (opened != null) {
      assertThat(opened.demand.errors).isEmpty();
      assertThat(opened.bulk.errors).isEmpty();
      opened.close();
    }
  }

  private Source open(ScratchGuest guest) {
    return open(guest, PushOrder.PLAIN);
  }

  private Source open(ScratchGuest guest, PushOrder order) {
    Source source = new Source(guest, order);
    opened = source;
    return source;
  }

  @Test
  void answersARequestWithThePage() {
    ScratchGuest guest = new ScratchGuest(16);
    guest.writeData(0, 16);
    Source source = open(guest);
    source.startServing();

    source.demand.request(5, 1);
    assertThat(source.demand.next()).isEqualTo(Frame.data(5, 1));
    source.demand.request(7, 2);
    assertThat(source.demand.next()).isEqualTo(Frame.data(7, 1));
    assertThat(source.demand.next()).isEqualTo(Frame.data(8, 1));
    assertThat(source.sent.demandPages()).isEqualTo(3);
  }

  @Test
  void answersWithThePagesBehindARequestTooUntilThePushBegins() {
    ScratchGuest guest = new ScratchGuest(16, 16);
    guest.writeData(0, 32);
    Source source = open(guest);
    source.demand.atSource(source.requests::startServing);

    source.demand.request(10, 1);
    for (int page = 10; page < 16; page++) {
      assertThat(source.demand.next()).isEqualTo(Frame.data(page, 1));
    }
    assertThat(source.demand.isQuiet()).as("nothing of the next block").isTrue();
    source.demand.atSource(source.requests::stopReadingAhead);
    source.demand.request(20, 1);
    assertThat(source.demand.next()).isEqualTo(Frame.data(20, 1));
    assertThat(source.demand.isQuiet()).isTrue();
  }

  @Test
  void sendsWhatWillBeAskedForBeforeItIsAndOnce() {
    ScratchGuest guest = new ScratchGuest(64);
    guest.writeData(0, 64);
    Source source = open(guest);
    source.startServing();
    source.demand.request(7, 1);
    assertThat(source.demand.next()).isEqualTo(Frame.data(7, 1));

    source.demand.atSource(() -> source.requests.sendUnasked(new int[] {40, 7, 41}));
    source.demand.request(41, 1);
    source.demand.request(9, 1);

    assertThat(source.demand.next()).isEqualTo(Frame.data(40, 1));
    assertThat(source.demand.next()).isEqualTo(Frame.data(41, 1));
    assertThat(source.demand.next()).isEqualTo(Frame.data(9, 1));
    assertThat(source.sent.demandPages()).isEqualTo(4);
  }

  @Test
  void sendsMoreThanTheSocketTakesOfWhatWillBeAskedFor() {
    ScratchGuest guest = new ScratchGuest(1024);
    guest.writeData(0, 1024);
    Source source = open(guest);
    source.startServing();

    int[] pages = IntStream.range(0, 1024).toArray();
    source.demand.atSource(() -> source.requests.sendUnasked(pages));

    for (int page = 0; page < 1024; page++) {
      assertThat(source.demand.next()).isEqualTo(Frame.data(page, 1));
    }
  }

  @Test
  void answersZeroPagesAndHolesWithZeroFramesAndLeavesTheHoles() {
    ScratchGuest guest = new ScratchGuest(16);
    guest.writeZeros(2, 3);
    Source source = open(guest);
    source.startServing();

    source.demand.request(2, 1);
    source.demand.request(9, 1);

    assertThat(source.demand.next()).isEqualTo(Frame.zero(2, 1));
    assertThat(source.demand.next()).isEqualTo(Frame.zero(9, 1));
    assertThat(guest.allocatedPages()).isEqualTo(1);
    assertThat(source.sent.zeroPages()).isEqualTo(2);
    assertThat(source.sent.dataPages()).isZero();
  }

  @Test
  void keepsEarlyRequestsUntilTheGuestHasStopped() {
    ScratchGuest guest = new ScratchGuest(16);
    guest.writeData(0, 8);
    Source source = open(guest);

    source.demand.request(3, 2);
    source.demand.request(12, 1);
    assertThat(source.demand.isQuiet()).isTrue();
    assertThat(source.sent.isClaimed(3)).isFalse();
    source.startServing();

    assertThat(source.demand.next()).isEqualTo(Frame.data(3, 1));
    assertThat(source.demand.next()).isEqualTo(Frame.data(4, 1));
    assertThat(source.demand.next()).isEqualTo(Frame.zero(12, 1));
  }

  /** Each vCPU may wait for 64 pages at a time. */
  @Test
  void keepsTheEarlyRequestsOfAGuestWithManyVcpus() {
    int pages = 10_000;
    Source source = open(new ScratchGuest(pages));
    for (int page = 0; page < pages; page++) {
      source.demand.startRequest(page);
    }
    assertThat(source.demand.isQuiet()).isTrue();
    source.startServing();

    for (int page = 0; page < pages; page++) {
      assertThat(source.demand.next()).isEqualTo(Frame.zero(page, 1));
    }
  }

  @Test
  void closesOnMoreEarlyRequestsThanAnyGuestWaitsFor() {
    Source source = open(new ScratchGuest(64));
    for (int i = 0; i <= MAX_WAITING_PAGES / 64; i++) {
      source.demand.request(0, 64);
    }

    assertThat(RecordingDestination.poll(source.demand.closedThere, 5000))
        .isEqualTo("protocol error: more than 524288 requested pages wait for their answers");
  }

  @Test
  void closesOnARequestThatIsNotInOneBlock() {
    Source source = open(new ScratchGuest(8, 8));
    source.startServing();

    source.demand.request(7, 2);

    assertThat(RecordingDestination.poll(source.demand.closedThere, 5000))
        .isEqualTo("protocol error: request for pages 7+2");
    assertThat(source.sent.isClaimed(7)).isFalse();
  }

  @Test
  void sendsAPageAgainThatBulkHasOnItsWayAndNotOneThatHasArrived() {
    ScratchGuest guest = new ScratchGuest(16);
    guest.writeData(0, 16);
    Source source = open(guest);
    source.startServing();
    source.startPushing();
    for (int first = 0; first < 16; first += PAGES_PER_FRAME) {
      assertThat(source.bulk.next()).isEqualTo(Frame.data(first, PAGES_PER_FRAME));
    }

    source.bulk.acknowledge(1);
    assertThat(source.bulk.isQuiet()).isTrue();
    assertThat(source.sent.isAcknowledged(3)).isTrue();
    source.demand.request(3, 1);
    source.demand.request(11, 1);

    assertThat(source.demand.next()).as("3 has arrived").isEqualTo(Frame.data(11, 1));
    source.demand.request(11, 1);
    assertThat(source.demand.isQuiet()).as("11 was sent on this connection").isTrue();
    assertThat(source.sent.resentPages()).isEqualTo(1);
    assertThat(source.sent.dataPages()).isEqualTo(16);
  }

  @Test
  void pushesDataInOrderAndAnnouncesHolesAsRangesOfOneBlock() {
    ScratchGuest guest = new ScratchGuest(40, 24);
    guest.writeData(2, 5);
    guest.writeZeros(5, 7);
    guest.writeData(7, 20);
    guest.writeData(60, 64);
    Source source = open(guest);
    int allocated = guest.allocatedPages();
    source.bulk.acknowledgeAll();
    source.startPushing();

    assertThat(source.framesUntilDrained())
        .containsExactly(
            Frame.zero(0, 2),
            Frame.data(2, 3),
            Frame.zero(5, 2),
            Frame.data(7, 4),
            Frame.data(11, 4),
            Frame.data(15, 4),
            Frame.data(19, 1),
            Frame.zero(20, 20),
            Frame.zero(40, 20),
            Frame.data(60, 4));
    assertThat(guest.allocatedPages()).isEqualTo(allocated);
    assertThat(source.sent.pushedPages()).isEqualTo(20);
    assertThat(source.sent.zeroPages()).isEqualTo(44);
  }

  @Test
  void pushesAGuestWithoutContentAsOneRangeForEachBlock() {
    ScratchGuest guest = new ScratchGuest(100_000, 50_000);
    Source source = open(guest);
    source.bulk.acknowledgeAll();
    source.startPushing();

    assertThat(source.framesUntilDrained())
        .containsExactly(Frame.zero(0, 100_000), Frame.zero(100_000, 50_000));
    assertThat(guest.allocatedPages()).isZero();
  }

  @Test
  void skipsPagesThatWereSentOnDemand() {
    ScratchGuest guest = new ScratchGuest(16);
    guest.writeData(0, 16);
    Source source = open(guest);
    source.startServing();
    source.demand.request(3, 1);
    assertThat(source.demand.next()).isEqualTo(Frame.data(3, 1));
    source.bulk.acknowledgeAll();
    source.startPushing();

    assertThat(source.framesUntilDrained())
        .containsExactly(Frame.data(0, 3), Frame.data(4, 4), Frame.data(8, 4), Frame.data(12, 4));
    assertThat(source.sent.dataPages()).isEqualTo(16);
  }

  @Test
  void goesOnFromThePageThatWasAskedForLastAndRoundToWhatIsLeft() {
    ScratchGuest guest = new ScratchGuest(20, 20);
    guest.writeData(0, 20);
    guest.writeData(30, 36);
    Source source = open(guest, PushOrder.FROM_LAST_FAULT);
    source.startServing();
    source.demand.request(31, 1);
    assertThat(source.demand.next()).isEqualTo(Frame.data(31, 1));
    source.demand.request(22, 1);
    assertThat(source.demand.next()).isEqualTo(Frame.zero(22, 1));
    source.demand.request(32, 1);
    assertThat(source.demand.next()).isEqualTo(Frame.data(32, 1));
    source.bulk.acknowledgeAll();
    source.startPushing();

    List<Frame> frames = source.framesUntilDrained();
    assertThat(frames)
        .startsWith(Frame.data(33, 3), Frame.zero(36, 4), Frame.data(0, 4))
        .endsWith(Frame.zero(20, 10), Frame.data(30, 1));
    assertThat(source.sent.dataPages()).isEqualTo(26);
    assertThat(source.sent.zeroPages()).isEqualTo(14);
    assertThat(guest.allocatedPages()).isEqualTo(26);
  }

  @Test
  void pagesThatWereWrittenToAreTakenBackBehindTheirContentAndSentAgain() {
    ScratchGuest guest = new ScratchGuest(16);
    guest.writeData(0, 12);
    Source source = open(guest);
    source.sent.rememberZeros();
    source.startRound(1);
    assertThat(source.bulk.untilQuiet())
        .containsExactly(Frame.data(0, 4), Frame.data(4, 4), Frame.data(8, 4), Frame.zero(12, 4));
    assertThat(source.settled).as("settled before it was acknowledged").isEmpty();

    // One page with content, one that was a hole; both are content now.
    guest.writeData(13, 14);
    assertThat(source.takeBack(2, 3, 13)).isEqualTo(2);
    assertThat(source.bulk.next()).isEqualTo(Frame.discard(3, 11));
    assertThat(source.sent.dataPages()).isEqualTo(11);
    assertThat(source.sent.zeroPages()).isEqualTo(3);
    source.bulk.acknowledgeAll();
    assertThat(source.nextSettled()).isEqualTo(2);
    assertThat(source.sent.isAcknowledged(3)).isFalse();
    assertThat(source.sent.isAcknowledged(4)).isTrue();

    source.startServing();
    source.startPushing();
    assertThat(source.awaitDrained()).isTrue();
    assertThat(source.bulk.untilQuiet()).containsExactly(Frame.data(3, 1), Frame.data(13, 1));
    assertThat(source.sent.dataPages()).isEqualTo(13);
    assertThat(source.sent.zeroPages()).isEqualTo(3);
  }

  @Test
  void aStretchEndsWhereItEndsAndLeavesOutWhatIsNotToBeSentNow() {
    ScratchGuest guest = new ScratchGuest(40);
    guest.writeData(0, 20);
    Source source = open(guest);
    source.sent.rememberZeros();
    source.bulk.acknowledgeAll();

    source.startStretch(2, 30, 1, 2, 7, 8, 25, 31);
    assertThat(source.nextSettled()).isEqualTo(1);
    assertThat(source.bulk.untilQuiet())
        .containsExactly(
            Frame.data(3, 4),
            Frame.data(9, 4),
            Frame.data(13, 4),
            Frame.data(17, 3),
            Frame.zero(20, 5),
            Frame.zero(26, 4));
    source.startStretch(30, 40, 2);
    assertThat(source.nextSettled()).isEqualTo(2);
    assertThat(source.bulk.untilQuiet()).containsExactly(Frame.zero(30, 10));

    source.startPushing();
    assertThat(source.awaitDrained()).isTrue();
    assertThat(source.bulk.untilQuiet())
        .as("all that was left out")
        .containsExactly(Frame.data(0, 3), Frame.data(7, 2), Frame.zero(25, 1));
  }

  @Test
  void memoryThatTheGuestHasGivenBackBetweenTwoPushesStaysAHoleAtTheSource() {
    ScratchGuest guest = new ScratchGuest(128);
    guest.writeData(0, 128);
    Source source = open(guest);
    source.sent.rememberZeros();
    source.bulk.acknowledgeAll();
    source.startStretch(0, 2, 1);
    assertThat(source.nextSettled()).isEqualTo(1);
    assertThat(source.bulk.untilQuiet()).containsExactly(Frame.data(0, 2));

    guest.punch(2, 100);
    source.startPushing();
    assertThat(source.awaitDrained()).isTrue();
    assertThat(source.bulk.next()).isEqualTo(Frame.zero(2, 98));
    assertThat(guest.allocatedPages()).as("pages of the source's RAM file").isEqualTo(30);
  }

  /** The push of a stretch goes on, and its end waits for the dropping. */
  @Test
  void takesPagesBackWhileAStretchIsPushed() {
    int pages = 2 * WINDOW_BYTES / PAGE;
    ScratchGuest guest = new ScratchGuest(pages);
    guest.writeData(0, pages);
    Source source = open(guest);
    source.sent.rememberZeros();
    source.startRound(1);
    int pushed = source.bulk.untilQuiet().size() * PAGES_PER_FRAME;

    assertThat(source.takeBackMeanwhile(1, 3, pages - 1)).isEqualTo(2);
    assertThat(source.bulk.next()).isEqualTo(Frame.discard(1, 3));
    assertThat(source.settled).isEmpty();
    source.bulk.acknowledgeAll();
    assertThat(source.nextSettled()).isEqualTo(1);
    List<Frame> rest = source.bulk.untilQuiet();
    assertThat(rest).startsWith(Frame.data(pushed, 4)).hasSize((pages - pushed) / PAGES_PER_FRAME);
    assertThat(source.sent.isAcknowledged(1)).as("taken back").isFalse();
    assertThat(source.sent.isAcknowledged(2)).isTrue();

    source.startPushing();
    assertThat(source.awaitDrained()).isTrue();
    assertThat(source.bulk.untilQuiet()).containsExactly(Frame.data(1, 1), Frame.data(3, 1));
  }

  /** A guest that writes always would have it wait for ever, where the way there is long. */
  @Test
  void aStretchIsOverWhateverIsTakenBackBehindItsLastPage() {
    ScratchGuest guest = new ScratchGuest(16);
    guest.writeData(0, 16);
    Source source = open(guest);
    source.sent.rememberZeros();
    source.startRound(1);
    assertThat(source.bulk.untilQuiet()).hasSize(4);
    assertThat(source.takeBackMeanwhile(1)).isEqualTo(1);

    source.bulk.acknowledge(4);
    assertThat(source.nextSettled()).as("all pages were acknowledged").isEqualTo(1);

    assertThat(source.takeBack(2, 5)).isEqualTo(1);
    source.bulk.acknowledge(5);
    assertThat(source.bulk.untilQuiet()).containsExactly(Frame.discard(1, 1), Frame.discard(5, 1));
    assertThat(source.settled).as("the last of them was not dropped yet").isEmpty();
    source.bulk.acknowledge(6);
    assertThat(source.nextSettled()).isEqualTo(2);
  }

  @Test
  void aPageThatWasNotSentIsNotTakenBack() {
    ScratchGuest guest = new ScratchGuest(8);
    guest.writeData(0, 8);
    Source source = open(guest);
    source.sent.rememberZeros();

    assertThat(source.takeBack(7, 0, 1, 2)).isZero();

    assertThat(source.nextSettled()).isEqualTo(7);
    assertThat(source.bulk.isQuiet()).isTrue();
  }

  /** A request for a page that was taken back is answered, whatever was acknowledged before. */
  @Test
  void answersARequestForAPageThatWasTakenBack() {
    ScratchGuest guest = new ScratchGuest(8);
    guest.writeData(0, 8);
    Source source = open(guest);
    source.sent.rememberZeros();
    source.bulk.acknowledgeAll();
    source.startRound(1);
    assertThat(source.nextSettled()).isEqualTo(1);
    source.takeBack(2, 5);
    assertThat(source.nextSettled()).isEqualTo(2);

    source.startServing();
    source.demand.request(5, 1);
    assertThat(source.demand.next()).isEqualTo(Frame.data(5, 1));
    source.demand.request(6, 1);
    assertThat(source.demand.isQuiet()).as("a page that arrived is not sent again").isTrue();
  }

  /** A balloon made a hole of it; a hole around it must not say that it is zero unasked. */
  @Test
  void aHoleIsAnnouncedUpToAPageThatWasSentWithContent() {
    ScratchGuest guest = new ScratchGuest(16);
    guest.writeData(4, 8);
    Source source = open(guest);
    source.sent.rememberZeros();
    source.bulk.acknowledgeAll();
    source.startRound(1);
    assertThat(source.nextSettled()).isEqualTo(1);
    assertThat(source.bulk.untilQuiet())
        .containsExactly(Frame.zero(0, 4), Frame.data(4, 4), Frame.zero(8, 8));
    guest.punch(4, 8);
    source.takeBack(2, 3, 5, 9);
    assertThat(source.nextSettled()).isEqualTo(2);
    assertThat(source.bulk.untilQuiet()).containsExactly(Frame.discard(3, 7));

    source.startPushing();
    assertThat(source.awaitDrained()).isTrue();
    assertThat(source.bulk.untilQuiet())
        .containsExactly(Frame.zero(3, 1), Frame.zero(5, 1), Frame.zero(9, 1));

    PageBitmap content = new PageBitmap(16);
    guest.memory.forEachHole(
        (first, count) -> source.sent.addSentWithContent(first, count, content));
    assertThat(content.cardinality()).as("holes that were sent with content").isEqualTo(3);
    assertThat(content.get(4) && content.get(6) && content.get(7)).isTrue();
  }

  @Test
  void pushesWhatWasWrittenLastBeforeTheRest() {
    ScratchGuest guest = new ScratchGuest(16);
    guest.writeData(0, 16);
    Source source = open(guest, PushOrder.FROM_LAST_FAULT);
    PageBitmap last = new PageBitmap(16);
    last.setRange(8, 2);
    last.set(13);
    source.bulk.atSource(() -> source.pusher.prefer(last));
    source.bulk.acknowledgeAll();
    source.startPushing();

    assertThat(source.framesUntilDrained()).startsWith(Frame.data(8, 4), Frame.data(13, 3));
  }

  @Test
  void hasNoMoreInFlightThanTheWindowWhileNothingIsAcknowledged() {
    int pages = 4 * WINDOW_BYTES / PAGE;
    ScratchGuest guest = new ScratchGuest(pages);
    guest.writeData(0, pages);
    Source source = open(guest);
    source.startPushing();

    List<Frame> first = source.bulk.untilQuiet();
    assertThat(first.size() * (long) FRAME_BYTES)
        .isBetween((long) WINDOW_BYTES, (long) WINDOW_BYTES + FRAME_BYTES);

    source.bulk.acknowledge(1);
    assertThat(source.bulk.next()).isNotNull();
    assertThat(source.bulk.isQuiet()).as("one acknowledged, one more").isTrue();
    assertThat(source.drained.getCount()).isEqualTo(1);
    source.bulk.acknowledgeAll();
    assertThat(source.awaitDrained()).isTrue();
  }

  /** A source of 16 pages, in a process where another one pushes. */
  private Source openBesideAnother() {
    ScratchGuest guest = new ScratchGuest(16);
    guest.writeData(0, 16);
    Source source = open(guest);
    source.pushers.enter(BulkWindow.adaptive());
    return source;
  }

  /** Of {@code source}, beside one other: who take turns. */
  private int othersAndThis(Source source) {
    AtomicInteger count = new AtomicInteger();
    source.bulk.atSource(() -> count.set(source.pushers.count()));
    return count.get();
  }

  @Test
  void countsAmongThoseThatPushUntilEverythingIsAcknowledged() {
    Source source = openBesideAnother();
    assertThat(othersAndThis(source)).as("before the push").isEqualTo(1);

    source.startRound(1);
    assertThat(othersAndThis(source)).as("in a round").isEqualTo(2);
    source.bulk.acknowledgeAll();
    assertThat(source.nextSettled()).isEqualTo(1);
    assertThat(othersAndThis(source)).as("between stretches").isEqualTo(2);

    source.takeBack(2, 3, 4);
    assertThat(othersAndThis(source)).as("between rounds").isEqualTo(1);
    source.bulk.acknowledgeNoMore();
    source.startPushing();
    assertThat(othersAndThis(source)).as("in the drain").isEqualTo(2);
    source.bulk.acknowledgeAll();
    assertThat(source.awaitDrained()).isTrue();
    assertThat(othersAndThis(source)).as("drained").isEqualTo(1);
  }

  @Test
  void doesNotCountAmongThoseThatPushOnceItsConnectionIsGone() {
    Source source = openBesideAnother();
    source.startPushing();
    assertThat(othersAndThis(source)).isEqualTo(2);

    source.bulk.acknowledge(5);

    assertThat(RecordingDestination.poll(source.bulk.closedThere, 5000)).isNotNull();
    source.startRound(2);
    assertThat(othersAndThis(source)).isEqualTo(1);
  }

  @Test
  void boundsTheNumberOfSmallFramesInFlightToo() {
    int pages = 4 * MAX_FRAMES_IN_FLIGHT;
    ScratchGuest guest = new ScratchGuest(pages);
    for (int page = 0; page < pages; page += 2) {
      guest.writeZeros(page, page + 1);
    }
    Source source = open(guest);
    source.startPushing();

    assertThat(source.bulk.untilQuiet()).hasSize(MAX_FRAMES_IN_FLIGHT);
    source.bulk.acknowledgeAll();
    assertThat(source.awaitDrained()).isTrue();
    assertThat(source.sent.zeroPages()).isEqualTo(pages);
    assertThat(guest.allocatedPages()).isEqualTo(pages / 2);
  }

  @Test
  void closesOnAnAcknowledgementOfMoreThanWasWritten() {
    ScratchGuest guest = new ScratchGuest(16);
    guest.writeData(0, 16);
    Source source = open(guest);
    source.startPushing();
    assertThat(source.bulk.next()).isNotNull();

    source.bulk.acknowledge(5);

    assertThat(RecordingDestination.poll(source.bulk.closedThere, 5000))
        .isEqualTo("protocol error: 5 frames acknowledged of 4 written");
    assertThat(source.sent.isAcknowledged(0)).isFalse();
    assertThat(source.drained.getCount()).isEqualTo(1);
  }

  @Test
  void framesInFlightForgetWhatIsAcknowledgedAndTakeAnOlderNumberForNothing() {
    SentPages sent = new SentPages(64);
    FramesInFlight frames = new FramesInFlight(sent, 2);
    assertThat(frames.isEmpty()).isTrue();
    for (int round = 0; round < 5; round++) {
      frames.add(round * 8, 4, 100);
      frames.add(round * 8 + 4, 4, 50);
      assertThat(frames.isFull()).isTrue();
      assertThat(frames.bytes()).isEqualTo(150);
      frames.acknowledge(round * 2L + 1);
      assertThat(sent.isAcknowledged(round * 8 + 3)).isTrue();
      assertThat(sent.isAcknowledged(round * 8 + 4)).isFalse();
      frames.acknowledge(0);
      assertThat(frames.bytes()).isEqualTo(50);
      frames.acknowledge(round * 2L + 2);
      assertThat(frames.isEmpty()).isTrue();
    }
    assertThatThrownBy(() -> frames.acknowledge(11)).isInstanceOf(ProtocolException.class);
  }

  /** Requests and the push race for the same pages; every page is counted once. */
  @Test
  void claimsEveryPageOnceUnderTwoLoopsAndAccountsForAllWhenItIsDrained() {
    int pages = 4096;
    int demandPages = 0;
    for (int round = 0; round < 6; round++) {
      ScratchGuest guest = new ScratchGuest(pages / 2, pages / 2);
      int holes = 0;
      for (int page = 0; page < pages; page += 16) {
        guest.writeData(page, page + 10);
        guest.writeZeros(page + 10, page + 13);
        holes += 3;
      }
      PushOrder order = round % 2 == 0 ? PushOrder.PLAIN : PushOrder.FROM_LAST_FAULT;
      Source source = new Source(guest, order);
      source.startServing();
      source.bulk.acknowledgeAll();
      SplittableRandom random = new SplittableRandom(round);
      source.startPushing();
      boolean[] requested = new boolean[pages];
      while (source.drained.getCount() > 0) {
        // Where the push is about to be, as faults often are.
        int page = Math.min(pages - 1, source.sent.nextUnclaimed(0) + random.nextInt(24));
        // As a destination does: it asks for no page twice.
        if (!requested[page]) {
          requested[page] = true;
          source.demand.request(page, 1);
        }
      }
      assertThat(source.awaitDrained()).isTrue();
      // A page can be claimed for demand and not be counted yet when bulk is drained: what was
      // under way on the demand loop has to end before the counts mean anything.
      source.demand.atSource(() -> {});

      int[] dataFrames = new int[pages];
      int[] zeroFrames = new int[pages];
      List<Frame> all = source.bulk.untilQuiet();
      all.addAll(source.demand.untilQuiet());
      for (Frame frame : all) {
        for (int page = frame.first(); page < frame.first() + frame.count(); page++) {
          (frame.kind() == Frame.Kind.DATA ? dataFrames : zeroFrames)[page]++;
        }
      }
      int twice = 0;
      for (int page = 0; page < pages; page++) {
        boolean isData = page % 16 < 10;
        assertThat(isData ? zeroFrames[page] : dataFrames[page]).as("page %d", page).isZero();
        if (isData) {
          assertThat(dataFrames[page]).as("page %d", page).isBetween(1, 2);
        } else {
          // A hole may be announced again as part of a longer one: a few bytes.
          assertThat(zeroFrames[page]).as("page %d", page).isPositive();
        }
        twice += isData && dataFrames[page] == 2 ? 1 : 0;
      }
      assertThat(source.sent.dataPages()).isEqualTo(pages / 16 * 10);
      assertThat(source.sent.zeroPages()).isEqualTo(pages / 16 * 6);
      demandPages += source.sent.demandPages();
      assertThat(source.sent.pushedPages()).isPositive();
      assertThat(source.sent.resentPages()).isGreaterThanOrEqualTo(twice);
      assertThat(guest.allocatedPages()).isEqualTo(pages - holes);
      assertThat(source.demand.errors).isEmpty();
      assertThat(source.bulk.errors).isEmpty();
      source.close();
    }
    assertThat(demandPages).as("pages that demand claimed first").isPositive();
  }

  /**
   * The last page is asked for while the last acknowledgement arrives: bulk can be drained while
   * that page is claimed and not yet counted. Seen by the demand loop the counts are whole, so that
   * END has to wait for that.
   */
  @Test
  void hasWholeCountsOnTheDemandLoopOnceBulkIsDrained() {
    int pages = WINDOW_BYTES / PAGE + 1;
    for (int round = 0; round < 200; round++) {
      ScratchGuest guest = new ScratchGuest(pages);
      guest.writeData(0, pages);
      Source source = new Source(guest);
      source.startServing();
      source.startPushing();
      for (int frame = 0; frame < WINDOW_BYTES / PAGE / PAGES_PER_FRAME; frame++) {
        assertThat(source.bulk.next()).isNotNull();
      }
      source.demand.startRequest(pages - 1);
      for (int spin = 0; spin < round * 7 % 400; spin++) {
        Thread.onSpinWait();
      }
      source.bulk.acknowledgeAll();
      assertThat(source.awaitDrained()).isTrue();
      AtomicInteger counted = new AtomicInteger();
      source.demand.atSource(() -> counted.set(source.sent.dataPages() + source.sent.zeroPages()));

      assertThat(counted.get()).isEqualTo(pages);
      source.close();
    }
  }

  /** The source's two writers, on two loops, with a destination that only writes down. */
  private static final class Source {
    final SentPages sent;
    final CountDownLatch drained = new CountDownLatch(1);
    final BlockingQueue<Integer> settled = new LinkedBlockingQueue<>();
    final RecordingDestination demand;
    final RecordingDestination bulk;
    private final ScratchGuest guest;
    private final PushOrder order;

    @SuppressWarnings("NullAway.Init") // set by the connection's callback
    private RequestHandler requests;

    @SuppressWarnings("NullAway.Init") // set by the connection's callback
    private BackgroundPusher pusher;

    private final Pushers pushers = new Pushers();

    Source(ScratchGuest guest) {
      this(guest, PushOrder.PLAIN);
    }

    Source(ScratchGuest guest, PushOrder order) {
      this.guest = guest;
      this.order = order;
      sent = new SentPages(guest.layout.pageCount());
      demand = new RecordingDestination(LOOPS, this::requestsOn);
      bulk = new RecordingDestination(LOOPS, this::pusherOn);
    }

    private RecordingDestination.SourceEnd requestsOn(Connection made) {
      RequestHandler handler = new RequestHandler(guest.memory, sent, made);
      requests = handler;
      return new RecordingDestination.SourceEnd() {
        @Override
        public void onRequest(int first, int count) {
          handler.onRequest(first, count);
        }

        @Override
        public void onBatchEnd() {
          handler.onBatchEnd();
        }

        @Override
        public void onWritable() {
          handler.onWritable();
        }
      };
    }

    private RecordingDestination.SourceEnd pusherOn(Connection made) {
      BackgroundPusher push =
          new BackgroundPusher(
              guest.memory,
              sent,
              made,
              BulkWindow.fixed(pushers, WINDOW_BYTES),
              new BandwidthLimit(BandwidthLimit.UNLIMITED),
              order,
              PATIENCE,
              new BackgroundPusher.PushListener() {
                @Override
                public void onDrained() {
                  drained.countDown();
                }

                @Override
                public void onSettled(int turn) {
                  settled.add(turn);
                }
              });
      pusher = push;
      return new RecordingDestination.SourceEnd() {
        @Override
        public void onClosed() {
          push.onClosed();
        }

        @Override
        public void onAck(long frames) {
          push.onAck(frames);
        }

        @Override
        public void onBatchEnd() {
          push.pump();
        }

        @Override
        public void onWritable() {
          push.pump();
        }
      };
    }

    /** As once the push has begun: a request is answered with its own pages only. */
    void startServing() {
      demand.atSource(requests::stopReadingAhead);
      demand.atSource(requests::startServing);
    }

    /** A stretch of all pages. */
    void startRound(int turn) {
      startStretch(0, guest.layout.pageCount(), turn);
    }

    void startStretch(int first, int end, int turn, int... notNow) {
      PageBitmap leftOut = pages(notNow);
      bulk.atSource(() -> pusher.startStretch(first, end, leftOut, turn));
    }

    /** How many of {@code pages} were sent, and are not any more. */
    int takeBack(int turn, int... pages) {
      PageBitmap written = pages(pages);
      AtomicInteger taken = new AtomicInteger();
      bulk.atSource(
          () -> {
            taken.set(pusher.takeBack(written, 0, written.pageCount()));
            pusher.rest(turn);
          });
      return taken.get();
    }

    /** As {@link #takeBack}, with the push going on. */
    int takeBackMeanwhile(int... pages) {
      PageBitmap written = pages(pages);
      AtomicInteger taken = new AtomicInteger();
      bulk.atSource(() -> taken.set(pusher.takeBack(written, 0, written.pageCount())));
      return taken.get();
    }

    private PageBitmap pages(int... numbers) {
      PageBitmap pages = new PageBitmap(guest.layout.pageCount());
      for (int page : numbers) {
        pages.set(page);
      }
      return pages;
    }

    /** The turn that settles next, or null where none does. */
    @Nullable Integer nextSettled() {
      return RecordingDestination.poll(settled, 10_000);
    }

    void startPushing() {
      bulk.startAtSource(pusher::start);
    }

    boolean awaitDrained() {
      try {
        return drained.await(10, TimeUnit.SECONDS);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IllegalStateException("interrupted", e);
      }
    }

    List<Frame> framesUntilDrained() {
      assertThat(awaitDrained()).as("drained").isTrue();
      return bulk.untilQuiet();
    }

    void close() {
      demand.close();
      bulk.close();
      guest.close();
    }
  }
}
