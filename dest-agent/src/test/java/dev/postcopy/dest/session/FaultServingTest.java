package dev.postcopy.dest.session;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.dest.page.PageStates;
import dev.postcopy.dest.page.Tmpfs;
import dev.postcopy.linux.TestHost;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** One fault at a time, from the thread that waits to the thread that goes on. */
@Timeout(60)
class FaultServingTest {

  private static final int PAGE = RamLayout.PAGE_BYTES;
  private static final int PAGES = 16;
  private static final long STILL_BLOCKED_MILLIS = 300;

  @BeforeAll
  static void requireRights() {
    TestHost.requireRoot();
    TestHost.requireUserfaultfd();
  }

  @Test
  void asksOnceForAPageThatTwoThreadsWaitForAndWakesBoth() {
    try (ServedProcess served = ServedProcess.start(PAGES)) {
      served.process.send("touch " + 3 * PAGE);
      assertThat(ServedProcess.next(served.requests)).isEqualTo(3);
      served.process.send("kernelread " + 3 * PAGE);
      assertThat(served.process.replyWithin(STILL_BLOCKED_MILLIS)).isEmpty();

      served.sendOnDemand(3, 1, 0x0505050505050505L);

      assertThat(served.process.reply() + served.process.reply())
          .contains("touched %d %d".formatted(3 * PAGE, 0x0505050505050505L))
          .contains("kernelread %d 5".formatted(3 * PAGE));
      assertThat(served.requests).isEmpty();
      assertThat(served.serving.stats().faults()).isEqualTo(2);
      assertThat(served.serving.stats().demandPages()).isEqualTo(1);
    }
  }

  @Test
  void aPageThatWasTakenBackIsMissingAgainAndIsAskedForAgain() {
    try (ServedProcess served = ServedProcess.start(PAGES)) {
      served.process.send("touch " + 3 * PAGE);
      assertThat(ServedProcess.next(served.requests)).isEqualTo(3);
      served.sendOnBulk(0, 8, 7);
      served.sendOnBulk(8, 8, 0);
      assertThat(served.process.reply()).isEqualTo("touched %d 7".formatted(3 * PAGE));

      // Of both kinds, and one of each that stays.
      served.takeBack(3, 8, 0b1100_0001);
      assertThat(next(served, 3)).isEqualTo(3);
      PageStates pages = served.serving.pages();
      assertThat(pages.dataPages()).isEqualTo(7);
      assertThat(pages.zeroPages()).isEqualTo(6);
      assertThat(pages.isKnown(3) || pages.isKnown(9) || pages.isKnown(10)).isFalse();
      assertThat(served.file.allocatedBytes()).isEqualTo(7 * PAGE);

      served.process.send("touch " + 3 * PAGE);
      served.process.send("touch " + 9 * PAGE);
      assertThat(List.of(ServedProcess.next(served.requests), ServedProcess.next(served.requests)))
          .containsExactlyInAnyOrder(3, 9);
      assertThat(served.process.replyWithin(STILL_BLOCKED_MILLIS)).as("old content").isEmpty();
      served.sendOnDemand(3, 1, 8);
      assertThat(served.process.reply()).isEqualTo("touched %d 8".formatted(3 * PAGE));
      served.sendOnDemand(9, 1, 9);
      assertThat(served.process.reply()).isEqualTo("touched %d 9".formatted(9 * PAGE));
      served.sendOnBulk(10, 1, 5);
      assertThat(served.process.request("touch " + 10 * PAGE))
          .isEqualTo("touched %d 5".formatted(10 * PAGE));
      assertThat(pages.isComplete()).isTrue();
      assertThat(pages.dataPages()).isEqualTo(10);
      assertThat(pages.zeroPages()).isEqualTo(6);
    }
  }

  private static long next(ServedProcess served, long wanted) {
    Long frames = 0L;
    while (frames != null && frames < wanted) {
      frames = ServedProcess.next(served.acks);
    }
    return frames == null ? -1 : frames;
  }

  @Test
  void nothingIsTakenBackOnceTheGuestMayBeHere() {
    try (ServedProcess served = ServedProcess.start(PAGES)) {
      served.sendOnBulk(0, 8, 7);
      assertThat(next(served, 1)).isEqualTo(1);
      served.serving.keepPages();

      served.takeBack(0, 8, 0xff);

      DestinationEvent event = ServedProcess.next(served.events);
      assertThat(String.valueOf(event)).contains("DISCARD after LOADED");
      assertThat(served.serving.pages().dataPages()).isEqualTo(8);
      assertThat(served.file.allocatedBytes()).isEqualTo(8 * PAGE);
    }
  }

  @Test
  void nothingIsTakenBackThatIsNotTheGuests() {
    try (ServedProcess served = ServedProcess.start(PAGES)) {
      served.takeBack(PAGES - 4, 8, 0);

      DestinationEvent event = ServedProcess.next(served.events);
      assertThat(String.valueOf(event)).contains("pages 12+8 are not in the guest's RAM");
    }
  }

  @Test
  void wakesWhoWaitsForAPageThatBulkBrings() {
    try (ServedProcess served = ServedProcess.start(PAGES)) {
      served.process.send("touch " + 3 * PAGE);
      assertThat(ServedProcess.next(served.requests)).isEqualTo(3);

      served.sendOnBulk(0, 8, 7);

      assertThat(served.process.reply()).isEqualTo("touched %d 7".formatted(3 * PAGE));
      assertThat(ServedProcess.next(served.acks)).isEqualTo(1);
      assertThat(served.serving.stats().demandPages()).isZero();
    }
  }

  @Test
  void answersAPageThatTheGuestGaveBackWithZerosAndNeverAsksForItAgain() {
    try (ServedProcess served = ServedProcess.start(PAGES)) {
      served.sendOnBulk(5, 1, 9);
      assertThat(ServedProcess.next(served.acks)).isEqualTo(1);
      assertThat(served.process.request("touch " + 5 * PAGE))
          .isEqualTo("touched %d 9".formatted(5 * PAGE));
      // What a balloon does.
      served.file.punch(5L * PAGE, PAGE);

      assertThat(served.process.request("touch " + 5 * PAGE))
          .isEqualTo("touched %d 0".formatted(5 * PAGE));
      assertThat(served.requests).isEmpty();
      assertThat(served.serving.stats().dataPages()).isEqualTo(1);
      assertThat(served.serving.stats().duplicatePages()).isZero();
    }
  }

  @Test
  void leavesKnownZeroPagesAsHolesButForTheOneThatIsWaitedFor() {
    try (ServedProcess served = ServedProcess.start(PAGES)) {
      served.process.send("touch " + 5 * PAGE);
      assertThat(ServedProcess.next(served.requests)).isEqualTo(5);

      served.sendOnBulk(0, PAGES, 0);

      assertThat(served.process.reply()).isEqualTo("touched %d 0".formatted(5 * PAGE));
      assertThat(ServedProcess.next(served.acks)).isEqualTo(1);
      assertThat(served.file.allocatedBytes()).isEqualTo(PAGE);
      assertThat(served.serving.stats().zeroPages()).isEqualTo(PAGES);
      assertThat(served.serving.stats().dataPages()).isZero();
      assertThat(ServedProcess.next(served.events))
          .isInstanceOf(DestinationEvent.AllPagesKnown.class);
    }
  }

  @Test
  void answersALaterFaultOnAKnownZeroPageWithoutTheSource() {
    try (ServedProcess served = ServedProcess.start(PAGES)) {
      served.sendOnBulk(0, PAGES, 0);
      assertThat(ServedProcess.next(served.acks)).isEqualTo(1);
      assertThat(served.file.allocatedBytes()).isZero();

      assertThat(served.process.request("kernelread " + 2 * PAGE))
          .isEqualTo("kernelread %d 0".formatted(2 * PAGE));
      assertThat(served.process.request("write %d 4".formatted(3 * PAGE)))
          .isEqualTo("wrote " + 3 * PAGE);
      assertThat(served.process.request("touch " + 3 * PAGE))
          .isEqualTo("touched %d 4".formatted(3 * PAGE));
      assertThat(served.requests).isEmpty();
      assertThat(served.file.allocatedBytes()).isEqualTo(2 * PAGE);
    }
  }

  @Test
  void closesOnAPageOutsideTheGuestWithAMessageThatNamesIt() {
    try (ServedProcess served = ServedProcess.start(PAGES)) {
      served.sendOnDemand(PAGES - 1, 2, 1);

      assertThat(ServedProcess.next(served.events))
          .isEqualTo(
              new DestinationEvent.ConnectionLost(
                  ConnectionRole.DEMAND,
                  new CloseCause.Violation("pages 15+2 are not in the guest's RAM")));
      assertThat(served.file.allocatedBytes()).isZero();
    }
  }

  @Test
  void reportsAFullTmpfsByNameAndKeepsTheWaiterWaiting(@TempDir Path directory) throws Exception {
    try (Tmpfs tmpfs = Tmpfs.mount(directory, 4 * PAGE);
        ServedProcess served = ServedProcess.start(PAGES, tmpfs.directory().resolve("ram"))) {
      served.sendOnBulk(0, 4, 1);
      assertThat(ServedProcess.next(served.acks)).isEqualTo(1);
      served.process.send("touch " + 9 * PAGE);
      assertThat(ServedProcess.next(served.requests)).isEqualTo(9);

      served.sendOnDemand(9, 1, 1);

      assertThat(ServedProcess.next(served.events))
          .isInstanceOfSatisfying(
              DestinationEvent.OutOfMemory.class,
              failed ->
                  assertThat(failed.cause())
                      .contains("the tmpfs of the guest's RAM is full")
                      .contains("at page 9"));
      assertThat(served.process.replyWithin(STILL_BLOCKED_MILLIS)).as("blocked").isEmpty();
      assertThat(served.serving.pages().isKnown(9)).isFalse();
    }
  }

  /**
   * The kernel tells of a fault once: what was read beside one that fails must not be forgotten.
   */
  @Test
  void whatWasReadWithAFaultThatCannotBeServedYetIsServedLater(@TempDir Path directory)
      throws Exception {
    try (Tmpfs tmpfs = Tmpfs.mount(directory, 4 * PAGE);
        ServedProcess served = ServedProcess.start(PAGES, tmpfs.directory().resolve("ram"))) {
      fill(served);
      CountDownLatch goOn = served.holdFaults();
      for (int page = 8; page < 12; page++) {
        served.process.send("touch " + page * PAGE);
      }
      assertThat(served.process.replyWithin(STILL_BLOCKED_MILLIS)).as("no room").isEmpty();
      goOn.countDown();
      requireOutOfMemory(served);

      served.file.punch(0, 4 * PAGE);
      served.loseSource();
      served.connectAgain(bulk -> {});

      for (int i = 0; i < 4; i++) {
        assertThat(served.process.reply()).as("of one that waits").endsWith(" 0");
      }
    }
  }

  /** Four pages take all the room there is; the others are known to be zero, and need some too. */
  private static void fill(ServedProcess served) {
    served.sendOnBulk(0, 4, 1);
    served.sendOnBulk(4, PAGES - 4, 0);
    assertThat(next(served, 2)).isEqualTo(2);
  }

  private static void requireOutOfMemory(ServedProcess served) {
    DestinationEvent event = ServedProcess.next(served.events);
    while (event instanceof DestinationEvent.AllPagesKnown) {
      event = ServedProcess.next(served.events);
    }
    assertThat(event).isInstanceOf(DestinationEvent.OutOfMemory.class);
  }

  /** What is known here needs no source. */
  @Test
  void faultsAreServedOnWithoutASourceAlsoWhereOneCouldNotBe(@TempDir Path directory)
      throws Exception {
    try (Tmpfs tmpfs = Tmpfs.mount(directory, 4 * PAGE);
        ServedProcess served = ServedProcess.start(PAGES, tmpfs.directory().resolve("ram"))) {
      fill(served);
      served.process.send("touch " + 8 * PAGE);
      requireOutOfMemory(served);

      served.loseSource();
      requireOutOfMemory(served);

      served.file.punch(0, 4 * PAGE);
      served.loseSource();

      assertThat(served.process.reply()).as("of who waited").isEqualTo(touched(8));
      assertThat(served.process.request("touch " + 9 * PAGE)).isEqualTo(touched(9));
    }
  }

  private static String touched(int page) {
    return "touched %d 0".formatted(page * PAGE);
  }

  @Test
  void aSourceThatComesBackMaySendAsSoonAsItHasHeardWhatIsHere() {
    try (ServedProcess served = ServedProcess.start(PAGES)) {
      served.loseSource();
      served.process.send("touch " + 3 * PAGE);

      served.connectAgain(bulk -> ServedProcess.send(bulk, 3, 1, 7));

      assertThat(served.process.reply()).isEqualTo("touched %d 7".formatted(3 * PAGE));
      assertThat(served.events).noneMatch(DestinationEvent.ConnectionLost.class::isInstance);
    }
  }

  @Test
  void reportsTheEndOfTheProcessByName() {
    try (ServedProcess served = ServedProcess.start(PAGES)) {
      served.process.kill();

      served.sendOnBulk(0, 1, 1);

      assertThat(ServedProcess.next(served.events))
          .isEqualTo(new DestinationEvent.ServingFailed("QEMU is gone"));
    }
  }
}
