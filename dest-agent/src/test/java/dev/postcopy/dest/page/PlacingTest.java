package dev.postcopy.dest.page;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.dest.attach.GuestRam;
import dev.postcopy.linux.RamFile;
import dev.postcopy.linux.ScratchProcess;
import dev.postcopy.linux.TestHost;
import dev.postcopy.linux.Userfaultfd;
import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.wire.ProtocolException;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What may be placed in another process, and what a placed page is safe from. */
@Timeout(60)
class PlacingTest {

  private static final int PAGE = RamLayout.PAGE_BYTES;
  private static final int PAGES = 16;
  private static final long STILL_BLOCKED_MILLIS = 300;

  /** Two blocks that are neighbours in the process, so that a run could cross from one to two. */
  private static final RamLayout LAYOUT =
      new RamLayout(List.of(new RamBlock("m0", 8 * PAGE), new RamBlock("m1", 8 * PAGE)));

  private ScratchProcess process;
  private RamFile file;
  private Userfaultfd userfaultfd;
  private GuestRam ram;
  private PageStates pages;
  private PageReceiver receiver;

  @BeforeAll
  static void requireRights() {
    TestHost.requireRoot();
    TestHost.requireUserfaultfd();
  }

  @BeforeEach
  void register() {
    process = ScratchProcess.withMemfd(LAYOUT.byteLength());
    file = process.openMemfd();
    userfaultfd = process.takeUserfaultfd(process.injectUserfaultfd());
    userfaultfd.registerMissing(process.range());
    long start = process.range().start().value();
    ram = GuestRam.at(LAYOUT, start, start + 8 * PAGE);
    pages = new PageStates(PAGES);
    receiver = newReceiver(pages);
  }

  @AfterEach
  void end() {
    userfaultfd.close();
    file.close();
    process.close();
  }

  @Test
  void writesNothingForARunThatIsNotInOneBlock() {
    int[][] runs = {{-1, 1}, {0, 0}, {0, -1}, {PAGES, 1}, {PAGES - 1, 2}, {7, 2}, {0, PAGES}};
    for (int[] run : runs) {
      assertThatThrownBy(() -> receive(receiver, run[0], run[1], 1))
          .as("pages %d+%d", run[0], run[1])
          .isInstanceOf(ProtocolException.class)
          .hasMessageContaining("not in the guest's RAM");
      assertThatThrownBy(() -> receiver.onZero(run[0], run[1]))
          .as("zero %d+%d", run[0], run[1])
          .isInstanceOf(ProtocolException.class);
    }
    assertThatThrownBy(() -> receiver.onZero(1, Integer.MAX_VALUE))
        .isInstanceOf(ProtocolException.class);
    assertThatThrownBy(() -> receiver.onZero(Integer.MAX_VALUE, Integer.MAX_VALUE))
        .isInstanceOf(ProtocolException.class);

    assertThat(file.allocatedBytes()).isZero();
    assertThat(pages.dataPages() + pages.zeroPages()).isZero();
  }

  @Test
  void writesNothingOfARunWithAPageThatWasSaidToBeZero() {
    receiver.onZero(3, 1);

    assertThatThrownBy(() -> receive(receiver, 2, 3, 1))
        .isInstanceOf(ProtocolException.class)
        .hasMessageContaining("page 3");
    assertThat(file.allocatedBytes()).isZero();
    assertThat(pages.dataPages()).isZero();
  }

  @Test
  void refusesZerosForAPageThatCameWithContent() {
    receive(receiver, 2, 1, 1);

    assertThatThrownBy(() -> receiver.onZero(0, 4))
        .isInstanceOf(ProtocolException.class)
        .hasMessageContaining("page 2");
    assertThat(pages.isComplete()).isFalse();
  }

  @Test
  void placesARunOfEachBlockAtItsPlace() {
    receive(receiver, 6, 2, 0x66);
    receive(receiver, 8, 1, 0x88);

    assertThat(word(6)).isEqualTo(0x66);
    assertThat(word(7)).isEqualTo(0x66);
    assertThat(word(8)).isEqualTo(0x88);
    assertThat(file.allocatedBytes()).isEqualTo(3 * PAGE);
  }

  @Test
  void leavesTheGuestsOwnWriteAloneWhenThePageComesAgain() {
    receive(receiver, 4, 1, 1);
    assertThat(process.request("write %d 77".formatted(4 * PAGE))).startsWith("wrote");

    receive(receiver, 4, 1, 2);

    assertThat(word(4)).isEqualTo(77);
    assertThat(pages.duplicatePages()).isEqualTo(1);
    assertThat(pages.dataPages()).isEqualTo(1);
  }

  /** The other placer has copied, but not published yet: the kernel's EEXIST is what protects. */
  @Test
  void leavesTheGuestsOwnWriteAloneWhenNoBitTellsThatThePageIsThere() {
    receive(receiver, 4, 1, 1);
    assertThat(process.request("write %d 77".formatted(4 * PAGE))).startsWith("wrote");

    PageStates ofTheOther = new PageStates(PAGES);
    receive(newReceiver(ofTheOther), 2, 5, 2);

    assertThat(word(4)).isEqualTo(77);
    assertThat(word(3)).isEqualTo(2);
    assertThat(word(5)).isEqualTo(2);
    for (int page = 2; page < 7; page++) {
      assertThat(ofTheOther.isReceived(page)).isTrue();
    }
  }

  @Test
  void wakesWhoWaitsForAPageThatTheOtherPlacerHasCopied() {
    process.send("touch " + 5 * PAGE);
    assertThat(process.replyWithin(STILL_BLOCKED_MILLIS)).as("blocked").isEmpty();
    // Copied without a wake, as between the other placer's copy and its wake.
    ByteBuf content = content(1, 9);
    int result =
        userfaultfd.newCopier().copy(process.page(5).value(), content.memoryAddress(), PAGE, false);
    content.release();
    assertThat(result).isZero();
    assertThat(process.replyWithin(STILL_BLOCKED_MILLIS)).as("not woken").isEmpty();

    receive(receiver, 4, 4, 3);

    assertThat(process.reply()).isEqualTo("touched %d 9".formatted(5 * PAGE));
  }

  @Test
  void countsWhatComesTwice() {
    receive(receiver, 0, 4, 1);
    PageReceiver bulk = newReceiver(pages);
    receive(bulk, 2, 4, 1);
    receive(bulk, 0, 1, 1);
    receiver.onZero(6, 2);
    receiver.onZero(7, 1);
    receiver.onZero(8, 8);

    assertThat(pages.dataPages()).isEqualTo(6);
    assertThat(pages.duplicatePages()).isEqualTo(3);
    assertThat(pages.zeroPages()).isEqualTo(10);
    assertThat(receiver.newPages()).isEqualTo(4);
    assertThat(bulk.newPages()).isEqualTo(2);
    assertThat(receiver.frames()).isEqualTo(4);
    assertThat(pages.isComplete()).isTrue();
  }

  /** Before its crash an agent had placed page 9, which is zero, for somebody. */
  @Test
  void everyPageIsCountedOnceWhereAZeroPageWasFoundPresent() {
    pages.addPresent(9, 1);

    receive(receiver, 0, 8, 1);
    receiver.onZero(8, 8);

    assertThat(pages.dataPages() + pages.zeroPages()).as("pages counted").isEqualTo(PAGES);
    assertThat(pages.isComplete()).as("nothing is missing").isTrue();
  }

  @Test
  void placesFromAnUnalignedBuffer() {
    ByteBuf content = Unpooled.directBuffer(PAGE + 12);
    content.writeZero(11).skipBytes(11);
    for (int i = 0; i < PAGE / Long.BYTES; i++) {
      content.writeLongLE(0x1122334455667788L);
    }
    try {
      receiver.onPages(1, 1, content);
    } finally {
      content.release();
    }
    assertThat(word(1)).isEqualTo(0x1122334455667788L);
  }

  @Test
  void namesTheEndOfTheProcess() {
    process.kill();

    assertThatThrownBy(() -> receive(receiver, 0, 1, 1))
        .isInstanceOf(PlacingFailedException.class)
        .hasMessage("QEMU is gone");
    assertThat(pages.isReceived(0)).isFalse();
  }

  @Test
  void namesARangeThatIsNotRegisteredAnyMore() {
    userfaultfd.unregister(process.range());

    assertThatThrownBy(() -> receive(receiver, 3, 1, 1))
        .isInstanceOf(PlacingFailedException.class)
        .hasMessage("page 3 is not registered any more");
  }

  /**
   * As after a lost race, when the tmpfs was made exactly as large as the guest: the kernel looks
   * for room before it looks for the page.
   */
  @Test
  void wakesForAPageThatIsPresentOnATmpfsThatIsFull(@TempDir Path directory) throws Exception {
    try (Tmpfs tmpfs = Tmpfs.mount(directory, LAYOUT.byteLength());
        ScratchProcess onTmpfs =
            ScratchProcess.withFile(
                LAYOUT.byteLength(), tmpfs.directory().resolve("ram").toString());
        Userfaultfd theirs = onTmpfs.takeUserfaultfd(onTmpfs.injectUserfaultfd())) {
      theirs.registerMissing(onTmpfs.range());
      long start = onTmpfs.range().start().value();
      GuestRam full = GuestRam.at(LAYOUT, start, start + 8 * PAGE);
      PagePlacer placer =
          new PagePlacer(full, pages, theirs, (first, count, arrivedNanos, placedNanos) -> {});
      PageReceiver fullReceiver = PageReceiver.ofPushes(LAYOUT, pages, placer);
      receive(fullReceiver, 0, 8, 1);
      receive(fullReceiver, 8, 8, 1);
      assertThat(pages.isComplete()).isTrue();

      assertThatCode(() -> placer.placeZero(3)).doesNotThrowAnyException();
      assertThatCode(() -> receive(fullReceiver, 4, 2, 1)).doesNotThrowAnyException();
    }
  }

  /** QEMU reads it while it loads, and would wait for somebody to tell it that it is zero. */
  @Test
  void aZeroPageThatIsAnAnswerIsPlacedThoughNobodyWaitsYet() {
    PageReceiver answers = PageReceiver.ofAnswers(LAYOUT, pages, newPlacer(pages));
    answers.onZero(3, 1);
    receiver.onZero(4, 1);

    assertThat(pages.isReceived(3)).as("an answer is placed").isTrue();
    assertThat(word(3)).as("what QEMU reads there, with nobody who serves its faults").isZero();
    assertThat(pages.isReceived(4)).as("a pushed zero page stays a hole").isFalse();
    assertThat(pages.zeroPages()).as("both are counted as zero").isEqualTo(2);
    assertThat(pages.dataPages()).as("neither has content").isZero();
  }

  /** It would be memory for a guest that never touches it. */
  @Test
  void aRangeThatIsZeroStaysAHoleWhereverItComes() {
    PageReceiver answers = PageReceiver.ofAnswers(LAYOUT, pages, newPlacer(pages));
    answers.onZero(0, 8);

    for (int page = 0; page < 8; page++) {
      assertThat(pages.isReceived(page)).as("page %d is placed", page).isFalse();
    }
    assertThat(pages.zeroPages()).as("known to be zero").isEqualTo(8);
  }

  private PageReceiver newReceiver(PageStates states) {
    return PageReceiver.ofPushes(LAYOUT, states, newPlacer(states));
  }

  private PagePlacer newPlacer(PageStates states) {
    return new PagePlacer(
        ram, states, userfaultfd, (first, count, arrivedNanos, placedNanos) -> {});
  }

  private static void receive(PageReceiver receiver, int first, int count, long word) {
    ByteBuf content = content(Math.clamp(count, 0, PAGES), word);
    try {
      receiver.onPages(first, count, content);
    } finally {
      content.release();
    }
  }

  private static ByteBuf content(int count, long word) {
    ByteBuf content = Unpooled.directBuffer(Math.max(1, count * PAGE));
    for (int i = 0; i < count * (PAGE / Long.BYTES); i++) {
      content.writeLongLE(word);
    }
    return content;
  }

  private long word(int page) {
    String[] reply = process.request("touch " + page * PAGE).split(" ", -1);
    assertThat(reply[0]).isEqualTo("touched");
    return Long.parseUnsignedLong(reply[2]);
  }
}
