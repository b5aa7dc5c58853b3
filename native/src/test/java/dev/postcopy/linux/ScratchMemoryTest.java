package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.management.ThreadMXBean;
import dev.postcopy.linux.abi.Poll;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.management.ManagementFactory;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class ScratchMemoryTest {
  private static final int PAGE = ScratchProcess.PAGE_BYTES;

  @BeforeAll
  static void requireUserfaultfd() {
    TestHost.requireUserfaultfd();
  }

  @Test
  void aFaultOfThisJvmIsServedByThisJvm() throws Exception {
    try (Arena arena = Arena.ofShared();
        ScratchMemory memory = ScratchMemory.create(4L * PAGE);
        Userfaultfd userfaultfd = Userfaultfd.ofThisProcess()) {
      userfaultfd.registerMissing(memory.range());
      MemorySegment page = arena.allocate(PAGE);
      page.set(ValueLayout.JAVA_BYTE, 7, (byte) 99);

      CompletableFuture<Byte> touch = CompletableFuture.supplyAsync(() -> memory.touch(PAGE + 7));
      FaultBatch faults = new FaultBatch(1);
      assertThat(Poll.poll(userfaultfd.number(), Poll.POLLIN, 10_000)).isEqualTo(Poll.POLLIN);
      // A collection needs every thread at a safepoint: with a Java access in place of touch() it
      // would hang here.
      System.gc();
      assertThat(userfaultfd.read(faults)).isEqualTo(1);
      assertThat(userfaultfd.newCopier().copy(faults.address(0), page.address(), PAGE, true))
          .isZero();

      assertThat(touch.get(10, TimeUnit.SECONDS)).isEqualTo((byte) 99);
    }
  }

  @Test
  void placingAllocatesNothing() {
    int pages = 20_000;
    try (Arena arena = Arena.ofConfined();
        ScratchMemory memory = ScratchMemory.create((long) pages * PAGE);
        Userfaultfd userfaultfd = Userfaultfd.ofThisProcess()) {
      userfaultfd.registerMissing(memory.range());
      PageCopier copier = userfaultfd.newCopier();
      long source = arena.allocate(PAGE).address();
      ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
      long allocated = Long.MAX_VALUE;
      // What is not compiled yet allocates; when the compiler gets to it depends on the machine.
      for (int round = 0; round < 20 && allocated >= pages; round++) {
        memory.file().punchAll();
        long before = threads.getCurrentThreadAllocatedBytes();
        placePages(copier, memory, source, pages);
        allocated = threads.getCurrentThreadAllocatedBytes() - before;
      }

      assertThat(allocated / pages).as("bytes allocated per page placed, when compiled").isZero();
    }
  }

  private static void placePages(PageCopier copier, ScratchMemory memory, long source, int pages) {
    long start = memory.range().start().value();
    for (int page = 0; page < pages; page++) {
      int result = copier.copy(start + (long) page * PAGE, source, PAGE, false);
      int woken = copier.wake(start + (long) page * PAGE, PAGE);
      if (result != 0 || woken != 0) {
        throw new AssertionError("copy %d, wake %d".formatted(result, woken));
      }
    }
  }

  @Test
  void refusesToTouchOutsideItself() {
    try (ScratchMemory memory = ScratchMemory.create(PAGE)) {
      assertThatThrownBy(() -> memory.touch(PAGE)).isInstanceOf(IndexOutOfBoundsException.class);
      assertThatThrownBy(() -> memory.touch(-1)).isInstanceOf(IndexOutOfBoundsException.class);
    }
  }
}
