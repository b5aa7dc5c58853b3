package dev.postcopy.memory;

import java.util.List;
import java.util.Optional;

/**
 * The blocks of a guest's RAM in an order that both agents agree on, and with it a number for every
 * page: the pages of the first block come first, then those of the second. A page index is an
 * {@code int}, which is enough for 8 TiB.
 */
public final class RamLayout {

  /** Bytes of a page; the only size that is migrated (x86-64 base pages). */
  public static final int PAGE_BYTES = 4096;

  /** The most that a guest may have: a page index is an int. */
  public static final long MAX_BYTES = (long) Integer.MAX_VALUE * PAGE_BYTES;

  private final List<RamBlock> blocks;
  private final int[] firstPage;
  private final int pageCount;

  /**
   * @param blocks at least one, ids distinct, at most 2^31-1 pages in all
   * @throws IllegalArgumentException where that does not hold
   */
  public RamLayout(List<RamBlock> blocks) {
    if (blocks.isEmpty()) {
      throw new IllegalArgumentException("a guest without RAM blocks");
    }
    if (blocks.stream().map(RamBlock::id).distinct().count() != blocks.size()) {
      throw new IllegalArgumentException("two RAM blocks of the same id in " + blocks);
    }
    this.blocks = List.copyOf(blocks);
    this.firstPage = new int[blocks.size()];
    long pages = 0;
    for (int i = 0; i < blocks.size(); i++) {
      firstPage[i] = (int) pages;
      pages += blocks.get(i).pageCount();
      if (pages > Integer.MAX_VALUE) {
        throw new IllegalArgumentException("more guest RAM than 8 TiB");
      }
    }
    this.pageCount = (int) pages;
  }

  public List<RamBlock> blocks() {
    return blocks;
  }

  /** How many pages all blocks have together. */
  public int pageCount() {
    return pageCount;
  }

  /** All bytes of guest RAM. */
  public long byteLength() {
    return (long) pageCount * PAGE_BYTES;
  }

  /** The index of the block that holds {@code page}, which must be in [0, pageCount). */
  public int blockOf(int page) {
    int block = firstPage.length - 1;
    while (firstPage[block] > page) {
      block--;
    }
    return block;
  }

  /** The first page of block number {@code block}. */
  public int firstPageOf(int block) {
    return firstPage[block];
  }

  /** One past the last page of block number {@code block}. */
  public int endPageOf(int block) {
    return block + 1 < firstPage.length ? firstPage[block + 1] : pageCount;
  }

  /** Where {@code page} starts within its block, in bytes. */
  public long byteOffsetInBlock(int page, int block) {
    return (long) (page - firstPage[block]) * PAGE_BYTES;
  }

  /**
   * Whether pages [first, first+count) exist and lie in one block; every run that comes from a peer
   * is asked this before anything else is done with it.
   */
  public boolean isRunInOneBlock(int first, int count) {
    if (first < 0 || count <= 0 || first >= pageCount || count > pageCount - first) {
      return false;
    }
    return first + count <= endPageOf(blockOf(first));
  }

  /** Says how {@code other} differs, in words for an operator; empty where they are the same. */
  public Optional<String> differenceTo(RamLayout other) {
    if (blocks.equals(other.blocks)) {
      return Optional.empty();
    }
    return Optional.of("source has " + describe() + ", destination has " + other.describe());
  }

  private String describe() {
    StringBuilder text = new StringBuilder();
    for (RamBlock block : blocks) {
      text.append(text.isEmpty() ? "" : " + ")
          .append(block.id())
          .append(" (")
          .append(block.byteLength() >> 20)
          .append(" MiB)");
    }
    return text.toString();
  }

  @Override
  public String toString() {
    return describe();
  }
}
