package dev.postcopy.memory;

import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;

/** The bits of a guest of 1 GiB. */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public class PageBitmapBenchmark {

  private static final int PAGES = 1 << 18;
  private static final int CHUNK = 4;

  private final PageBitmap claimed = new PageBitmap(PAGES);
  private final PageBitmap full = new PageBitmap(PAGES);
  private int page;

  @Setup
  public void fill() {
    full.setRange(0, PAGES - 1);
  }

  /** A page is claimed and given back. */
  @Benchmark
  public boolean setAndClear() {
    page = (page + 1) % PAGES;
    return claimed.set(page) && claimed.clear(page);
  }

  /** What a pushed frame does with the bits of its pages. */
  @Benchmark
  public int setRangeOfFour() {
    page = (page + CHUNK) % PAGES;
    return claimed.setRange(page, CHUNK);
  }

  /** The end of a push looks for the last page of all: {@value #PAGES} bits. */
  @Benchmark
  public int findLastClear() {
    return full.nextClear(0);
  }
}
