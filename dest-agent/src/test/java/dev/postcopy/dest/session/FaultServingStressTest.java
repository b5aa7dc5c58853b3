package dev.postcopy.dest.session;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.dest.attach.GuestRam;
import dev.postcopy.linux.FaultBatch;
import dev.postcopy.linux.RamFile;
import dev.postcopy.linux.RemoteRange;
import dev.postcopy.linux.ScratchMemory;
import dev.postcopy.linux.ScratchProcess;
import dev.postcopy.linux.TestHost;
import dev.postcopy.linux.Userfaultfd;
import dev.postcopy.linux.abi.MemoryCalls;
import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.wire.ControlFrame.DestinationStats;
import io.netty.channel.IoEventLoopGroup;
import io.netty.util.ResourceLeakDetector;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.LongPredicate;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * The real way of a fault under stress, after the kernel's uffd-stress: threads fault on pages in
 * an order of their own, both connections bring the same pages at the same time, and every word is
 * compared. A round that does not go on is a lost wake; what still waits is named.
 *
 * <p>{@code postcopy.stress.faults} is how many fault messages are served in all.
 */
@Timeout(900)
class FaultServingStressTest {

  private static final long FAULTS = Long.getLong("postcopy.stress.faults", 1_000_000);
  private static final int PAGE = RamLayout.PAGE_BYTES;
  private static final int PAGES = 8192;
  private static final int FAULTING_THREADS = 8;
  private static final long STALL_MILLIS = 10_000;
  private static final RamLayout LAYOUT =
      new RamLayout(List.of(new RamBlock("scratch", (long) PAGES * PAGE)));
  private static final IoEventLoopGroup LOOPS = EventLoops.named("stress", 4);

  private long faults;
  private long duplicates;
  private long discardedRequests;

  @BeforeAll
  static void requireRights() {
    TestHost.requireRoot();
    TestHost.requireUserfaultfd();
  }

  @AfterAll
  static void shutDown() {
    EventLoops.shutDown(LOOPS);
  }

  @Test
  void servesEveryFaultOfAnotherProcessWithTheRightContentAndLosesNoWake() {
    // Paranoid, as in all other tests, takes three times as long; this one looks at one in 128.
    ResourceLeakDetector.Level level = ResourceLeakDetector.getLevel();
    ResourceLeakDetector.setLevel(ResourceLeakDetector.Level.SIMPLE);
    try (ScratchProcess process = ScratchProcess.withMemfd(LAYOUT.byteLength());
        RamFile file = process.openMemfd();
        Userfaultfd userfaultfd = process.takeUserfaultfd(process.injectUserfaultfd())) {
      userfaultfd.registerMissing(process.range());
      long startNanos = System.nanoTime();
      for (int round = 0; faults < FAULTS; round++) {
        file.punchAll();
        int zeroPage = (round * 0x9e3779b1) & (PAGES - 1);
        long salt = saltOfZeroPage(zeroPage);
        Round running =
            new Round(process.range(), userfaultfd, page -> ScratchProcess.word(page, salt), round);
        process.send("round %s %d".formatted(Long.toUnsignedString(salt), FAULTING_THREADS));
        AtomicReference<String> reply = new AtomicReference<>("");
        running.awaitWhileItGoesOn(
            millis -> {
              reply.set(process.replyWithin(millis));
              return !reply.get().isEmpty();
            });

        assertThat(reply.get())
            .as("round %d", round)
            .isEqualTo("round ok pages=%d errors=0".formatted(FAULTING_THREADS * PAGES));
        running.endWithRightCounts(1);
        assertThat(file.allocatedBytes()).isEqualTo(LAYOUT.byteLength());
      }
      assertThat(duplicates).as("pages that came twice").isPositive();
      report("another process", startNanos);
    } finally {
      ResourceLeakDetector.setLevel(level);
    }
  }

  @Test
  void servesZeroPagesAmongOthersAndPlacesOnlyThoseThatWereWaitedFor() throws Exception {
    try (ScratchMemory scratch = ScratchMemory.create(LAYOUT.byteLength());
        Userfaultfd userfaultfd = Userfaultfd.ofThisProcess()) {
      userfaultfd.registerMissing(scratch.range());
      long startNanos = System.nanoTime();
      for (int round = 0; faults < FAULTS / 20; round++) {
        scratch.file().punchAll();
        MixedContent content = new MixedContent(round);
        Round running = new Round(scratch.range(), userfaultfd, content, round);
        Readers readers = new Readers(scratch.range().start().value(), content, round);
        try {
          running.awaitWhileItGoesOn(readers::haveEndedWithin);
        } finally {
          // The memory must not go away under a reader.
          assertThat(readers.haveEndedWithin(STALL_MILLIS)).isTrue();
        }

        assertThat(readers.errors).as("round %d", round).isEmpty();
        running.endWithRightCounts(content.zeroPages());
      }
      report("this process", startNanos);
      userfaultfd.unregister(scratch.range());
    }
  }

  private void report(String where, long startNanos) {
    System.out.printf(
        "stress in %s: %d faults in %d s, %d pages came twice, %d requests ignored%n",
        where,
        faults,
        TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - startNanos),
        duplicates,
        discardedRequests);
  }

  /** The words of a page are mix(page ^ mix(salt)): the salt for which they are all zero. */
  private static long saltOfZeroPage(int page) {
    long salt = unmix(unmix(0) ^ page);
    assertThat(ScratchProcess.word(page, salt)).isZero();
    return salt;
  }

  /** The inverse of the finalizer of splitmix64. */
  private static long unmix(long value) {
    long x = value ^ (value >>> 31) ^ (value >>> 62);
    x *= inverse(0x94d049bb133111ebL);
    x = x ^ (x >>> 27) ^ (x >>> 54);
    x *= inverse(0xbf58476d1ce4e5b9L);
    x = x ^ (x >>> 30) ^ (x >>> 60);
    return x - 0x9e3779b97f4a7c15L;
  }

  private static long inverse(long odd) {
    long x = odd;
    for (int i = 0; i < 6; i++) {
      x *= 2 - odd * x;
    }
    return x;
  }

  /** One page in four is zero; a data page differs from round to round and from page to page. */
  private record MixedContent(long salt) implements RacingSource.Content {
    @Override
    public long wordOf(int page) {
      return ((page + salt) & 3) == 0 ? 0 : ScratchProcess.word(page, salt);
    }

    int zeroPages() {
      return PAGES / 4;
    }
  }

  /** All that serves one round, from missing everywhere to complete. */
  private final class Round {
    private final RemoteRange range;
    private final Userfaultfd userfaultfd;
    private final BlockingQueue<DestinationEvent> events = new LinkedBlockingQueue<>();
    private final RacingSource source;
    private final FaultServing serving;

    Round(RemoteRange range, Userfaultfd userfaultfd, RacingSource.Content content, long seed) {
      this.range = range;
      this.userfaultfd = userfaultfd;
      source = new RacingSource(LOOPS, PAGES, content, seed);
      serving =
          FaultServing.start(
              GuestRam.at(LAYOUT, range.start().value()),
              userfaultfd,
              source.demand(),
              source.bulk(),
              new DeviceStateFeeder(source.bulk()),
              events);
      source.start();
    }

    /** The watchdog: {@code ended} waits so many milliseconds for the end of the round. */
    void awaitWhileItGoesOn(LongPredicate ended) {
      long progress = -1;
      while (!ended.test(STALL_MILLIS)) {
        DestinationStats stats = serving.stats();
        long now = stats.faults() + stats.dataPages() + stats.zeroPages();
        if (now == progress) {
          throw new AssertionError(describeStall(ended));
        }
        progress = now;
      }
    }

    /** Wakes everybody: who waits for a missing page faults again and so tells which it is. */
    private String describeStall(LongPredicate ended) {
      DestinationStats stats = serving.stats();
      stop();
      FaultBatch batch = new FaultBatch(4096);
      TreeSet<String> waiting = new TreeSet<>();
      userfaultfd.wake(range.start(), range.byteLength());
      boolean wentOn = ended.test(1000);
      for (int count = userfaultfd.read(batch); count > 0; count = userfaultfd.read(batch)) {
        for (int i = 0; i < count; i++) {
          int page = (int) ((batch.address(i) - range.start().value()) / PAGE);
          waiting.add(page + (serving.pages().isKnown(page) ? " (known here)" : " (never came)"));
        }
      }
      userfaultfd.unregister(range);
      return "nothing goes on after %s; events %s; %s; a wake of everything %s"
          .formatted(
              stats,
              events,
              waiting.isEmpty()
                  ? "wakes were lost for pages that are present"
                  : "waited for: " + waiting,
              wentOn ? "ended the round" : "did not end the round");
    }

    private void stop() {
      serving.stop();
      // The reader is gone when the loop has done what was queued before.
      source.demand().eventLoop().submit(() -> {}).syncUninterruptibly();
    }

    void endWithRightCounts(int zeroPages) {
      awaitQuiet();
      DestinationStats stats = serving.stats();
      assertThat(serving.pages().isComplete()).as("complete").isTrue();
      assertThat(stats.dataPages()).as("data pages").isEqualTo(PAGES - zeroPages);
      assertThat(stats.zeroPages()).as("zero pages").isEqualTo(zeroPages);
      assertThat((long) stats.dataPages() + stats.duplicatePages())
          .as("pages with content that arrived")
          .isEqualTo(source.contentPages());
      for (int page = 0; page < PAGES; page++) {
        assertThat(serving.pages().isKnown(page)).isTrue();
      }
      assertThat(events).hasAtLeastOneElementOfType(DestinationEvent.AllPagesKnown.class);
      assertThat(events).hasOnlyElementsOfType(DestinationEvent.AllPagesKnown.class);
      faults += stats.faults();
      duplicates += stats.duplicatePages();
      discardedRequests += source.discardedRequests();
      stop();
      source.close();
    }

    /** What was on its way when the last thread had its page has arrived. */
    private void awaitQuiet() {
      long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
      DestinationStats stats = serving.stats();
      while (stats.dataPages() + stats.duplicatePages() != source.contentPages()
          && System.nanoTime() - deadline < 0) {
        Thread.onSpinWait();
        stats = serving.stats();
      }
    }
  }

  /** Threads of this process that read every page and compare all of it. */
  private static final class Readers {
    final ConcurrentLinkedQueue<String> errors = new ConcurrentLinkedQueue<>();
    private final CountDownLatch running = new CountDownLatch(FAULTING_THREADS);
    private final long address;
    private final MixedContent content;

    Readers(long address, MixedContent content, long seed) {
      this.address = address;
      this.content = content;
      SplittableRandom random = new SplittableRandom(seed);
      for (int i = 0; i < FAULTING_THREADS; i++) {
        List<Integer> order = shuffled(random);
        Thread.ofPlatform().daemon().name("reader-" + i).start(() -> readAll(order));
      }
    }

    boolean haveEndedWithin(long millis) {
      try {
        return running.await(millis, TimeUnit.MILLISECONDS);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IllegalStateException("interrupted", e);
      }
    }

    private static List<Integer> shuffled(SplittableRandom random) {
      List<Integer> order = new ArrayList<>(PAGES);
      for (int page = 0; page < PAGES; page++) {
        order.add(random.nextInt(page + 1), page);
      }
      return order;
    }

    private void readAll(List<Integer> order) {
      try (Arena arena = Arena.ofConfined()) {
        MemorySegment copy = arena.allocate(PAGE, Long.BYTES);
        MemorySegment expected = arena.allocate(PAGE, Long.BYTES);
        for (int page : order) {
          MemoryCalls.memcpy(copy, address + (long) page * PAGE, PAGE);
          long word = content.wordOf(page);
          for (long offset = 0; offset < PAGE; offset += Long.BYTES) {
            expected.set(ValueLayout.JAVA_LONG, offset, word);
          }
          if (copy.mismatch(expected) != -1) {
            errors.add("page " + page);
          }
        }
      } catch (RuntimeException e) {
        errors.add(e.toString());
      } finally {
        running.countDown();
      }
    }
  }
}
