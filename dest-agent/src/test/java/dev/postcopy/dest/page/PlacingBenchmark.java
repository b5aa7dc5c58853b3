package dev.postcopy.dest.page;

import dev.postcopy.dest.attach.GuestRam;
import dev.postcopy.linux.ScratchMemory;
import dev.postcopy.linux.Userfaultfd;
import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/**
 * Copy, publish, fence and wake, by page, on memory of this process; nobody waits for the pages.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public class PlacingBenchmark {

  private static final int PAGES = 4096;
  private static final RamLayout LAYOUT =
      new RamLayout(List.of(new RamBlock("scratch", (long) PAGES * RamLayout.PAGE_BYTES)));

  /** Pages in one frame. */
  @Param({"1", "4", "64"})
  int pagesPerFrame;

  private final ScratchMemory scratch = ScratchMemory.create(LAYOUT.byteLength());
  private final Userfaultfd userfaultfd = Userfaultfd.ofThisProcess();
  private final long content =
      Arena.ofAuto().allocate(64L * RamLayout.PAGE_BYTES).fill((byte) 7).address();
  private PagePlacer placer = newPlacer();

  @Setup
  public void register() {
    userfaultfd.registerMissing(scratch.range());
  }

  @Setup(Level.Invocation)
  public void emptyAgain() {
    scratch.file().punchAll();
    placer = newPlacer();
  }

  @TearDown
  public void close() {
    userfaultfd.unregister(scratch.range());
    userfaultfd.close();
    scratch.close();
  }

  private PagePlacer newPlacer() {
    return new PagePlacer(
        GuestRam.at(LAYOUT, scratch.range().start().value()),
        new PageStates(PAGES),
        userfaultfd,
        (first, count, arrivedNanos, placedNanos) -> {});
  }

  @Benchmark
  @OperationsPerInvocation(PAGES)
  public int placePages() {
    int placed = 0;
    for (int page = 0; page < PAGES; page += pagesPerFrame) {
      placed += placer.place(page, pagesPerFrame, content);
    }
    return placed;
  }
}
