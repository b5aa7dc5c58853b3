package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Which writes of another process are found, and when. */
@Timeout(60)
class WriteWatchTest {
  private static final int PAGE = ScratchProcess.PAGE_BYTES;

  /** Several page tables' worth. */
  private static final int PAGES = 2048;

  private ScratchProcess process;
  private int remoteFd;
  private WriteWatch watch;
  private Pagemap pagemap;

  @BeforeAll
  static void requireRights() {
    TestHost.requireRoot();
    TestHost.requireUserfaultfd();
    TestHost.require(WriteWatch.whyNot().isEmpty(), "Linux 6.7: " + WriteWatch.whyNot());
  }

  @BeforeEach
  void watch() {
    process = ScratchProcess.withMemfd((long) PAGES * PAGE);
    remoteFd = process.injectUserfaultfd();
    watch = WriteWatch.open(take(remoteFd));
    watch.register(process.range());
    pagemap = Pagemap.open(process.pid());
  }

  @AfterEach
  void end() {
    pagemap.close();
    watch.close();
    process.close();
  }

  private OwnedFd take(int number) {
    try (PidFd pidFd = PidFd.open(process.pid())) {
      return pidFd.takeDescriptor(number);
    }
  }

  private void write(long page) {
    assertThat(process.request("write " + page * PAGE + " 7")).isEqualTo("wrote " + page * PAGE);
  }

  /** The pages that were written, as numbers. */
  private List<Integer> written() {
    List<Integer> pages = new ArrayList<>();
    pagemap.takeWritten(
        process.range(),
        (start, byteLength) -> {
          int first = (int) (start.minus(process.range().start()) / PAGE);
          for (int i = 0; i < byteLength / PAGE; i++) {
            pages.add(first + i);
          }
        });
    return pages;
  }

  @Test
  void tellsAPageOnceForEachTimeItIsWritten() {
    write(3);
    assertThat(written()).contains(3);
    assertThat(written()).isEmpty();

    write(3);
    write(3);
    write(4);
    assertThat(written()).containsExactly(3, 4);
    assertThat(written()).isEmpty();
  }

  @Test
  void findsWhatWasWrittenWithoutTakingIt() {
    write(3);
    written();
    write(4);
    List<Long> found = new ArrayList<>();
    for (int i = 0; i < 2; i++) {
      pagemap.findWritten(
          process.range(),
          (start, byteLength) -> found.add(start.minus(process.range().start()) / PAGE));
    }

    assertThat(found).containsExactly(4L, 4L);
    assertThat(written()).containsExactly(4);
  }

  @Test
  void tellsAWriteToAPageThatWasNeverThere() {
    // One beside a page that is there, one where the process has no page table yet.
    write(0);
    written();
    write(1);
    write(1000);

    assertThat(written()).contains(1, 1000).doesNotContain(0);
    assertThat(written()).isEmpty();
    write(1000);
    assertThat(written()).containsExactly(1000);
  }

  @Test
  void tellsWritesOfTheKernelToo() {
    write(5);
    written();
    assertThat(process.request("kernelwrite " + 5 * PAGE)).isEqualTo("kernelwrite " + 5 * PAGE);

    assertThat(written()).containsExactly(5);
  }

  @Test
  void doesNotTellReads() {
    write(5);
    written();
    process.request("touch " + 5 * PAGE);

    assertThat(written()).isEmpty();
  }

  /** The kernel keeps the protection of a page that is gone; that it is gone, it does not tell. */
  @Test
  void tellsAWriteToAPageThatWasPunchedOut() {
    write(7);
    written();
    try (RamFile file = process.openMemfd()) {
      file.punch(7L * PAGE, PAGE);
    }
    written();
    write(7);

    assertThat(written()).containsExactly(7);
  }

  @Test
  void readsMoreRunsThanFitInOneCall() {
    try (ScratchProcess large = ScratchProcess.withMemfd(20_000L * PAGE);
        WriteWatch other = watchOf(large);
        Pagemap map = Pagemap.open(large.pid())) {
      other.register(large.range());
      for (long page = 0; page < 20_000; page += 2) {
        large.send("write " + page * PAGE + " 1");
      }
      for (long page = 0; page < 20_000; page += 2) {
        assertThat(large.reply()).startsWith("wrote");
      }
      map.takeWritten(large.range(), (start, byteLength) -> {});
      for (long page = 0; page < 20_000; page += 2) {
        large.send("write " + page * PAGE + " 1");
      }
      for (long page = 0; page < 20_000; page += 2) {
        assertThat(large.reply()).startsWith("wrote");
      }
      List<Long> runs = new ArrayList<>();
      map.takeWritten(
          large.range(),
          (start, byteLength) -> runs.add(start.minus(large.range().start()) / PAGE));
      assertThat(runs).hasSize(10_000).first().isEqualTo(0L);
      assertThat(runs).last().isEqualTo(19_998L);
    }
  }

  private static WriteWatch watchOf(ScratchProcess process) {
    try (PidFd pidFd = PidFd.open(process.pid())) {
      return WriteWatch.open(pidFd.takeDescriptor(process.injectUserfaultfd()));
    }
  }

  @Test
  void whatIsNotWatchedIsRefusedByName() {
    watch.unregister(process.range());
    write(1);

    assertThatThrownBy(this::written)
        .isInstanceOf(HostRefusal.class)
        .hasMessageContaining("not watched");
  }

  @Test
  void aSecondWatchIsRefusedAndTheFirstIsFound() {
    assertThat(WriteWatch.findIn(process.pid())).containsExactly(remoteFd);
    int second = process.injectUserfaultfd();
    try (Userfaultfd plain = process.takeUserfaultfd(second)) {
      assertThat(WriteWatch.findIn(process.pid()))
          .as("one that serves missing pages is none")
          .containsExactly(remoteFd);
      assertThatThrownBy(() -> plain.registerMissing(process.range()))
          .isInstanceOf(HostRefusal.class)
          .hasMessageContaining("another userfaultfd");
    }
  }

  @Test
  void anotherAgentLetsGoOfWhatTheFirstLeftBehind() {
    watch.close();
    try (WriteWatch found = WriteWatch.retake(take(WriteWatch.findIn(process.pid()).getFirst()))) {
      found.unregister(process.range());
    }
    assertThat(InjectedUserfaultfd.close(process.pid(), remoteFd)).isZero();

    assertThat(ProcFds.listByLink(process.pid(), Userfaultfd.LINK)).isEmpty();
    watch = watchOf(process);
    watch.register(process.range());
    write(2);
    assertThat(written()).contains(2);
  }
}
