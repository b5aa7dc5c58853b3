package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.linux.abi.Errno;
import dev.postcopy.linux.abi.Poll;
import dev.postcopy.linux.abi.Syscalls;
import dev.postcopy.linux.abi.Uffd;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class UserfaultfdTest {
  private static final int PAGE = ScratchProcess.PAGE_BYTES;
  private static final int PAGES = 64;
  private static final long SALT = 5;

  private final Arena arena = Arena.ofConfined();
  private final MemorySegment source = arena.allocate((long) PAGES * PAGE, PAGE);
  private final FaultBatch faults = new FaultBatch(16);
  private ScratchProcess process;
  private int remoteFd;
  private Userfaultfd userfaultfd;
  private PageCopier copier;

  @BeforeAll
  static void requireRights() {
    TestHost.requireRoot();
    TestHost.requireUserfaultfd();
  }

  @BeforeEach
  void attach() {
    for (int page = 0; page < PAGES; page++) {
      ScratchProcess.fillPage(source.asSlice((long) page * PAGE, PAGE), page, SALT);
    }
    process = ScratchProcess.withMemfd((long) PAGES * PAGE);
    remoteFd = process.injectUserfaultfd();
    userfaultfd = process.takeUserfaultfd(remoteFd);
    userfaultfd.registerMissing(process.range());
    copier = userfaultfd.newCopier();
  }

  @AfterEach
  void detach() {
    process.close();
    userfaultfd.close();
    arena.close();
  }

  @Test
  void aReadOfAMissingPageWaitsUntilThePageIsPlaced() {
    process.send("touch " + (3L * PAGE + 8));
    awaitFaults(1);

    assertThat(faults.event(0)).isEqualTo(Uffd.UFFD_EVENT_PAGEFAULT);
    assertThat(faults.address(0)).isEqualTo(process.page(3).value());
    assertThat(faults.flags(0) & Uffd.UFFD_PAGEFAULT_FLAG_WRITE).as("write flag").isZero();
    assertThat(process.replyWithin(50)).as("reply before the page is placed").isEmpty();

    assertThat(copyPages(3, 1, true)).isZero();
    assertThat(copier.copiedBytes()).isEqualTo(PAGE);
    assertThat(process.reply()).isEqualTo(touched(3L * PAGE + 8, 3));
  }

  @Test
  void tellsWhichThreadWaitsAndThatItWrites() {
    process.send("write 0 42");
    awaitFaults(1);

    assertThat(faults.flags(0) & Uffd.UFFD_PAGEFAULT_FLAG_WRITE).as("write flag").isNotZero();
    assertThat(
            java.nio.file.Path.of("/proc/%d/task/%d".formatted(process.pid(), faults.threadId(0))))
        .as("the thread that faulted")
        .exists();
    assertThat(copyPages(0, 1, true)).isZero();
    assertThat(process.reply()).isEqualTo("wrote 0");
  }

  @Test
  void aFaultTakenByTheKernelWaitsToo() {
    process.send("kernelread 0");
    awaitFaults(1);

    assertThat(copyPages(0, 1, true)).isZero();
    assertThat(process.reply()).isEqualTo("kernelread 0 " + (ScratchProcess.word(0, SALT) & 0xff));
  }

  @Test
  void aPagePlacedWithoutWakingLeavesItsReaderWaiting() {
    process.send("touch 0");
    awaitFaults(1);

    assertThat(copyPages(0, 1, false)).isZero();
    assertThat(process.replyWithin(100)).as("reply without a wake").isEmpty();

    assertThat(copier.wake(process.page(0).value(), PAGE)).isZero();
    assertThat(process.reply()).isEqualTo(touched(0, 0));
  }

  @Test
  void returnsEexistForAPageThatIsPresentAndWakesNobody() {
    process.send("touch 0");
    awaitFaults(1);
    assertThat(copyPages(0, 1, false)).isZero();

    assertThat(copyPages(0, 1, true)).isEqualTo(-Errno.EEXIST);

    assertThat(copier.copiedBytes()).isZero();
    assertThat(process.replyWithin(100)).as("reply after EEXIST").isEmpty();
    userfaultfd.wake(process.page(0), PAGE);
    assertThat(process.reply()).isEqualTo(touched(0, 0));
  }

  @Test
  void aCopyOfManyPagesEndsAtTheFirstThatIsPresent() {
    assertThat(copyPages(4, 1, true)).isZero();

    assertThat(copyPages(0, 8, true)).as("with 4 pages copied").isEqualTo(-Errno.EAGAIN);
    assertThat(copier.copiedBytes()).isEqualTo(4L * PAGE);

    assertThat(copyPages(4, 4, true)).as("with none copied").isEqualTo(-Errno.EEXIST);
    assertThat(copier.copiedBytes()).isZero();

    assertThat(copyPages(5, 3, true)).as("behind the page that was present").isZero();
    assertThat(copier.copiedBytes()).isEqualTo(3L * PAGE);
  }

  @Test
  void theSourceNeedsNoAlignment() {
    MemorySegment shifted = arena.allocate(PAGE + 16);
    ScratchProcess.fillPage(source.asSlice(0, PAGE), 9, SALT);
    MemorySegment.copy(source, 0, shifted, 3, PAGE);

    assertThat(copier.copy(process.page(9).value(), shifted.address() + 3, PAGE, true)).isZero();
    assertThat(process.request("touch " + 9L * PAGE)).isEqualTo(touched(9L * PAGE, 9));
  }

  @Test
  void readableDoesNotPromiseAMessage() {
    try (Userfaultfd other = process.takeUserfaultfd(remoteFd)) {
      process.send("touch 0");
      assertThat(poll(userfaultfd)).as("first reader").isEqualTo(Poll.POLLIN);
      assertThat(poll(other)).as("second reader").isEqualTo(Poll.POLLIN);

      assertThat(userfaultfd.read(faults)).isEqualTo(1);
      assertThat(other.read(new FaultBatch(1))).as("messages left for the second").isZero();

      assertThat(copyPages(0, 1, true)).isZero();
      assertThat(process.reply()).isEqualTo(touched(0, 0));
    }
  }

  @Test
  void wakingEndsAFaultThatWasNotRead() {
    process.send("touch 0");
    assertThat(poll(userfaultfd)).isEqualTo(Poll.POLLIN);

    assertThat(copyPages(0, 1, true)).isZero();

    assertThat(process.reply()).isEqualTo(touched(0, 0));
    assertThat(userfaultfd.read(faults)).as("messages after the wake").isZero();
    assertThat(faults.size()).isZero();
  }

  @Test
  void aBatchTakesNoMoreThanItsCapacity() {
    for (int page = 0; page < 5; page++) {
      process.send("touch " + (long) page * PAGE);
    }
    FaultBatch small = new FaultBatch(2);
    int read = 0;
    while (read < 5) {
      assertThat(poll(userfaultfd)).isEqualTo(Poll.POLLIN);
      int count = userfaultfd.read(small);
      assertThat(count).isBetween(1, 2);
      read += count;
    }

    assertThatThrownBy(() -> small.address(2)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThat(copyPages(0, 5, true)).isZero();
    for (int page = 0; page < 5; page++) {
      assertThat(process.reply()).startsWith("touched");
    }
  }

  @Test
  void aPageThatWasPunchedAfterItCameFaultsAgain() {
    assertThat(copyPages(2, 1, true)).isZero();
    assertThat(process.request("touch " + 2L * PAGE)).isEqualTo(touched(2L * PAGE, 2));
    try (RamFile file = process.openMemfd()) {
      file.punch(2L * PAGE, PAGE);
    }

    process.send("touch " + 2L * PAGE);
    awaitFaults(1);
    assertThat(faults.address(0)).isEqualTo(process.page(2).value());

    MemorySegment zeros = arena.allocate(PAGE);
    assertThat(copier.copy(process.page(2).value(), zeros.address(), PAGE, true)).isZero();
    assertThat(process.reply()).isEqualTo("touched " + 2L * PAGE + " 0");
  }

  @Test
  void aSecondUserfaultfdOnTheRangeIsRefusedByName() {
    try (Userfaultfd second = process.takeUserfaultfd(process.injectUserfaultfd())) {
      assertThatThrownBy(() -> second.registerMissing(process.range()))
          .isInstanceOf(HostRefusal.class)
          .hasMessageContaining("another userfaultfd has memory of " + process.range());
    }
  }

  @Test
  void attachingAgainKeepsTheRegisteredRanges() {
    assertThat(userfaultfd.isReattached()).isFalse();
    userfaultfd.close();
    assertThat(ProcFds.listByLink(process.pid(), Userfaultfd.LINK)).containsExactly(remoteFd);
    process.send("touch 0");

    userfaultfd = process.takeUserfaultfd(remoteFd);

    assertThat(userfaultfd.isReattached()).isTrue();
    copier = userfaultfd.newCopier();
    awaitFaults(1);
    assertThat(copyPages(0, 1, true)).isZero();
    assertThat(process.reply()).isEqualTo(touched(0, 0));
  }

  @Test
  void aFaultWhoseReaderDiedIsSeenAgainAfterAWake() {
    process.send("touch 0");
    awaitFaults(1);
    userfaultfd.close();
    userfaultfd = process.takeUserfaultfd(remoteFd);
    copier = userfaultfd.newCopier();
    assertThat(userfaultfd.read(faults)).as("messages for the new reader").isZero();

    userfaultfd.wake(process.range().start(), process.range().byteLength());

    awaitFaults(1);
    assertThat(copyPages(0, 1, true)).isZero();
    assertThat(process.reply()).isEqualTo(touched(0, 0));
  }

  @Test
  void unregisteringLetsWaitersReadZeros() {
    process.send("touch 0");
    awaitFaults(1);

    userfaultfd.unregister(process.range());

    assertThat(process.reply()).isEqualTo("touched 0 0");
    assertThat(copyPages(1, 1, true))
        .as("copy into an unregistered range")
        .isEqualTo(-Errno.ENOENT);
  }

  @Test
  void returnsEsrchWhenTheProcessIsGone() {
    try (PidFd pidFd = PidFd.open(process.pid())) {
      assertThat(pidFd.hasExited()).as("exited before").isFalse();
      process.send("touch 0");
      awaitFaults(1);

      process.kill();

      assertThat(pidFd.hasExited()).as("exited after SIGKILL").isTrue();
      assertThat(copyPages(0, 1, true)).isEqualTo(-Errno.ESRCH);
      assertThat(userfaultfd.read(faults)).as("messages of a dead process").isZero();
    }
  }

  @Test
  void refusesRangesOutsideTheRegisteredMemory() {
    long behind = process.range().end().value();
    long from = source.address();

    assertThat(copier.copy(behind + (1L << 30), from, PAGE, true)).isEqualTo(-Errno.ENOENT);
    assertThat(copier.copy(behind - PAGE, from, 2L * PAGE, true))
        .as("half inside")
        .isEqualTo(-Errno.ENOENT);
    assertThat(copier.copy(process.page(0).value() + 1, from, PAGE, true))
        .as("unaligned")
        .isEqualTo(-Errno.EINVAL);
    assertThat(copier.copy(process.page(0).value(), from, 0, true))
        .as("empty")
        .isEqualTo(-Errno.EINVAL);
    assertThat(copier.copy(0x8000_0000_0000_0000L, from, PAGE, true))
        .as("kernel address")
        .isEqualTo(-Errno.EINVAL);
    assertThat(copier.copy(process.page(0).value(), 8, PAGE, true))
        .as("unmapped source")
        .isEqualTo(-Errno.EFAULT);
  }

  @Test
  void refusesADescriptorThatBlocks() {
    long blocking = SyscallInjector.inject(process.pid(), Syscalls.SYS_userfaultfd, 0);

    assertThatThrownBy(() -> process.takeUserfaultfd((int) blocking))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("O_NONBLOCK");
  }

  @Test
  void takingADescriptorThatIsNotThereSaysEbadf() {
    try (PidFd pidFd = PidFd.open(process.pid())) {
      assertThatThrownBy(() -> pidFd.takeDescriptor(9999))
          .isInstanceOf(LinuxException.class)
          .hasMessageStartingWith("pidfd_getfd(9999): EBADF");
    }
  }

  private int copyPages(int page, int count, boolean wake) {
    long from = source.address() + (long) page * PAGE;
    return copier.copy(process.page(page).value(), from, (long) count * PAGE, wake);
  }

  private void awaitFaults(int count) {
    assertThat(poll(userfaultfd)).as("a fault within 10 s").isEqualTo(Poll.POLLIN);
    assertThat(userfaultfd.read(faults)).as("fault messages").isEqualTo(count);
  }

  private static int poll(Userfaultfd fd) {
    return Poll.poll(fd.number(), Poll.POLLIN, 10_000);
  }

  private static String touched(long byteOffset, long pageIndex) {
    return "touched %d %s"
        .formatted(byteOffset, Long.toUnsignedString(ScratchProcess.word(pageIndex, SALT)));
  }
}
