package dev.postcopy.memory;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;

/**
 * A bit for each page, set and read by several threads. Setting is atomic and tells whether this
 * call set the bit, so that of two threads exactly one claims a page. One bit a page: 32 KiB for a
 * GiB of guest RAM.
 */
public final class PageBitmap {

  private static final VarHandle WORD = MethodHandles.arrayElementVarHandle(long[].class);

  private final long[] words;
  private final int pageCount;

  public PageBitmap(int pageCount) {
    this.pageCount = pageCount;
    this.words = new long[(int) (((long) pageCount + 63) >>> 6)];
  }

  public int pageCount() {
    return pageCount;
  }

  /** Sets the bit of {@code page}; true where it was clear before. Full ordering. */
  public boolean set(int page) {
    long bit = 1L << page;
    return ((long) WORD.getAndBitwiseOr(words, page >>> 6, bit) & bit) == 0;
  }

  /** Clears the bit of {@code page}; true where it was set before. Full ordering. */
  public boolean clear(int page) {
    long bit = 1L << page;
    return ((long) WORD.getAndBitwiseAnd(words, page >>> 6, ~bit) & bit) != 0;
  }

  /** Whether the bit of {@code page} is set. */
  public boolean get(int page) {
    return ((long) WORD.getVolatile(words, page >>> 6) & (1L << page)) != 0;
  }

  /**
   * The bits of pages [first, first+64), the lowest for the first; behind the last page clear.
   *
   * @param first a multiple of 64
   */
  public long word(int first) {
    return (long) WORD.getVolatile(words, first >>> 6);
  }

  /** Sets the bits of those of pages [first, first+64) whose bit is set in {@code bits}. */
  public void setWord(int first, long bits) {
    int word = first >>> 6;
    long _ = (long) WORD.getAndBitwiseOr(words, word, bits << first);
    // In two steps: a shift by 64 would be one by 0.
    long rest = bits >>> 1 >>> (63 - (first & 63));
    if (rest != 0) {
      long _ = (long) WORD.getAndBitwiseOr(words, word + 1, rest);
    }
  }

  /** Sets the bits of pages [first, first+count); returns how many were clear before. */
  public int setRange(int first, int count) {
    int newlySet = 0;
    int end = first + count;
    for (int page = first; page < end; ) {
      int word = page >>> 6;
      int endInWord = (int) Math.min(end, (word + 1L) << 6);
      long mask = mask(page, endInWord);
      newlySet += Long.bitCount(mask & ~(long) WORD.getAndBitwiseOr(words, word, mask));
      page = endInWord;
    }
    return newlySet;
  }

  /** The first page at or after {@code from} whose bit is clear, or pageCount. */
  public int nextClear(int from) {
    return next(from, pageCount, -1L);
  }

  /** The first page at or after {@code from} whose bit is set, or pageCount. */
  public int nextSet(int from) {
    return next(from, pageCount, 0L);
  }

  /** The first page in [from, end) whose bit is clear, or {@code end}; looks no further. */
  public int nextClear(int from, int end) {
    return next(from, end, -1L);
  }

  /** The first page in [from, end) whose bit is set, or {@code end}; looks no further. */
  public int nextSet(int from, int end) {
    return next(from, end, 0L);
  }

  private int next(int from, int end, long flip) {
    if (from >= end) {
      return end;
    }
    int word = from >>> 6;
    int lastWord = (end - 1) >>> 6;
    long candidates = ((long) WORD.getVolatile(words, word) ^ flip) & (-1L << from);
    while (candidates == 0) {
      if (++word > lastWord) {
        return end;
      }
      candidates = (long) WORD.getVolatile(words, word) ^ flip;
    }
    return Math.min(end, (word << 6) + Long.numberOfTrailingZeros(candidates));
  }

  /** Takes over every bit of {@code other}, which has as many; not while others set bits here. */
  public void copyFrom(PageBitmap other) {
    for (int i = 0; i < words.length; i++) {
      WORD.setVolatile(words, i, (long) WORD.getVolatile(other.words, i));
    }
  }

  /** Sets the bits of those of pages [first, end) whose bit is set in {@code other}. */
  public void addAll(PageBitmap other, int first, int end) {
    int page = other.nextSet(first, end);
    while (page < end) {
      int runEnd = other.nextClear(page, end);
      setRange(page, runEnd - page);
      page = other.nextSet(runEnd, end);
    }
  }

  /** Clears the bits of pages [first, first+count). */
  public void clearRange(int first, int count) {
    int end = first + count;
    for (int page = first; page < end; ) {
      int word = page >>> 6;
      int endInWord = (int) Math.min(end, (word + 1L) << 6);
      long _ = (long) WORD.getAndBitwiseAnd(words, word, ~mask(page, endInWord));
      page = endInWord;
    }
  }

  /** Clears every bit; not while others set bits here. */
  public void clearAll() {
    for (int i = 0; i < words.length; i++) {
      WORD.setVolatile(words, i, 0L);
    }
  }

  /** How many bits are set; exact only while no other thread sets any. */
  public int cardinality() {
    int set = 0;
    for (int i = 0; i < words.length; i++) {
      set += Long.bitCount((long) WORD.getVolatile(words, i));
    }
    return set;
  }

  private static long mask(int page, int endInWord) {
    int length = endInWord - page;
    return length == 64 ? -1L : ((1L << length) - 1) << page;
  }
}
