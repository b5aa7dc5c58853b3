package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.linux.abi.Errno;
import dev.postcopy.linux.abi.Poll;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Faulting threads, two fault servers and a background copier race on the same pages, after the
 * kernel's uffd-stress. The rounds differ in their content, so that a page of the round before, or
 * zeros, is an error.
 */
@Timeout(300)
class UserfaultfdStressTest {
  private static final int PAGE = ScratchProcess.PAGE_BYTES;
  private static final int PAGES = 4096;
  private static final int ROUNDS = Integer.getInteger("postcopy.stress.rounds", 8);
  private static final int FAULTING_THREADS = 4;
  private static final int SERVERS = 2;
  private static final int RUN_PAGES = 8;

  private final AtomicLong faultsRead = new AtomicLong();
  private final AtomicLong lostRaces = new AtomicLong();
  private volatile boolean roundOver;

  @BeforeAll
  static void requireRights() {
    TestHost.requireRoot();
    TestHost.requireUserfaultfd();
  }

  @Test
  void noThreadSeesAWrongWordAndNoneIsLeftWaiting() throws Exception {
    try (Arena arena = Arena.ofShared();
        ScratchProcess process = ScratchProcess.withMemfd((long) PAGES * PAGE);
        RamFile file = process.openMemfd();
        Userfaultfd userfaultfd = process.takeUserfaultfd(process.injectUserfaultfd());
        ExecutorService threads = Executors.newFixedThreadPool(SERVERS + 1)) {
      MemorySegment content = arena.allocate((long) PAGES * PAGE, PAGE);
      userfaultfd.registerMissing(process.range());
      for (int round = 1; round <= ROUNDS; round++) {
        fill(content, round);
        file.punchAll();
        String reply = runRound(round, process, userfaultfd, content, threads);

        assertThat(reply)
            .as("round %d", round)
            .isEqualTo("round ok pages=%d errors=0".formatted(FAULTING_THREADS * PAGES));
        assertThat(file.allocatedBytes()).isEqualTo((long) PAGES * PAGE);
      }
      assertThat(faultsRead.get()).as("faults read").isGreaterThan(ROUNDS * 100L);
    }
  }

  private String runRound(
      int round,
      ScratchProcess process,
      Userfaultfd userfaultfd,
      MemorySegment content,
      ExecutorService threads)
      throws Exception {
    roundOver = false;
    List<Future<?>> running = new ArrayList<>();
    for (int i = 0; i < SERVERS; i++) {
      running.add(threads.submit(() -> serveFaults(process, userfaultfd, content)));
    }
    running.add(threads.submit(() -> copyInBackground(process, userfaultfd, content)));
    String reply = process.request("round %d %d".formatted(round, FAULTING_THREADS));
    roundOver = true;
    for (Future<?> thread : running) {
      thread.get(30, TimeUnit.SECONDS);
    }
    return reply;
  }

  private static void fill(MemorySegment content, int salt) {
    for (long page = 0; page < PAGES; page++) {
      ScratchProcess.fillPage(content.asSlice(page * PAGE, PAGE), page, salt);
    }
  }

  private void serveFaults(ScratchProcess process, Userfaultfd userfaultfd, MemorySegment content) {
    PageCopier copier = userfaultfd.newCopier();
    FaultBatch batch = new FaultBatch(8);
    while (!roundOver) {
      int ready = Poll.poll(userfaultfd.number(), Poll.POLLIN, 20);
      assertThat(ready & Poll.POLLERR).as("POLLERR").isZero();
      int count = userfaultfd.read(batch);
      faultsRead.addAndGet(count);
      for (int i = 0; i < count; i++) {
        long offset = batch.address(i) - process.range().start().value();
        place(copier, batch.address(i), content.address() + offset, PAGE);
      }
    }
  }

  private void copyInBackground(
      ScratchProcess process, Userfaultfd userfaultfd, MemorySegment content) {
    PageCopier copier = userfaultfd.newCopier();
    for (int page = 0; page < PAGES; page += RUN_PAGES) {
      long offset = (long) page * PAGE;
      place(
          copier,
          process.range().start().value() + offset,
          content.address() + offset,
          (long) RUN_PAGES * PAGE);
    }
  }

  /**
   * Copies what is missing of a run without waking, skips what is present, and wakes the whole run
   * at the end.
   */
  private void place(PageCopier copier, long destination, long source, long byteLength) {
    long done = 0;
    while (done < byteLength) {
      int result = copier.copy(destination + done, source + done, byteLength - done, false);
      done += copier.copiedBytes();
      switch (-result) {
        case 0 -> {}
        case Errno.EEXIST -> {
          lostRaces.incrementAndGet();
          done += PAGE;
        }
        case Errno.EAGAIN -> Thread.onSpinWait();
        default -> throw new LinuxException("ioctl(UFFDIO_COPY)", -result);
      }
    }
    int woken = copier.wake(destination, byteLength);
    assertThat(woken).as("result of UFFDIO_WAKE").isZero();
  }
}
