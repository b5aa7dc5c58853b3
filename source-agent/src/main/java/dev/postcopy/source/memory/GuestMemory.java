package dev.postcopy.source.memory;

import dev.postcopy.linux.MappedRam;
import dev.postcopy.linux.ProcessStart;
import dev.postcopy.linux.RamFile;
import dev.postcopy.linux.RamMapping;
import dev.postcopy.linux.RamWriters;
import dev.postcopy.linux.Residency;
import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.qmp.MemoryBackend;
import io.netty.buffer.ByteBuf;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import java.util.function.Supplier;

/**
 * Guest RAM at the source, mapped read-only. Safe to use from several threads.
 *
 * <p>A hole of the file must not be read through the mapping: a read fault on shmem allocates the
 * page. Callers ask {@link #contentRun} first.
 */
public final class GuestMemory implements AutoCloseable {

  private static final int PAGE = RamLayout.PAGE_BYTES;
  private static final MemorySegment ZERO_PAGE = MemorySegment.ofArray(new byte[PAGE]).asReadOnly();

  /** The address space as one segment: a copy into a buffer then allocates no object. */
  private static final MemorySegment ALL_MEMORY = MemorySegment.NULL.reinterpret(Long.MAX_VALUE);

  private final RamLayout layout;
  private final RamFile[] files;
  private final MappedRam[] mappings;
  private final Supplier<OptionalInt> otherWriter;

  private GuestMemory(
      RamLayout layout, RamFile[] files, MappedRam[] mappings, Supplier<OptionalInt> otherWriter) {
    this.otherWriter = otherWriter;
    this.layout = layout;
    this.files = files;
    this.mappings = mappings;
  }

  /**
   * Maps the RAM of a QEMU.
   *
   * @param pid QEMU's process
   * @param backends all of its memory backends
   * @throws dev.postcopy.linux.HostRefusal where a backend's memory cannot be found or read
   */
  public static GuestMemory open(int pid, List<MemoryBackend> backends) {
    List<RamBlock> blocks = new ArrayList<>();
    List<RamMapping> located = new ArrayList<>();
    for (MemoryBackend backend : backends) {
      blocks.add(new RamBlock(backend.id(), backend.byteLength()));
      located.add(RamMapping.locate(pid, backend.id(), backend.path(), backend.byteLength()));
    }
    long startTicks = ProcessStart.ticks(pid);
    return of(
        new RamLayout(blocks),
        located.stream().map(mapping -> mapping.open(false)).toList(),
        () -> RamWriters.findBeside(pid, startTicks, located));
  }

  /** Maps files, one for each block of {@code layout}; they are closed with this object. */
  public static GuestMemory of(RamLayout layout, List<RamFile> files) {
    return of(layout, files, OptionalInt::empty);
  }

  private static GuestMemory of(
      RamLayout layout, List<RamFile> files, Supplier<OptionalInt> otherWriter) {
    return new GuestMemory(
        layout,
        files.toArray(RamFile[]::new),
        files.stream().map(RamFile::mapReadOnly).toArray(MappedRam[]::new),
        otherWriter);
  }

  /**
   * A process that has the guest's RAM mapped to write to it, and is not its QEMU: what it holds
   * then need not be the guest's any more.
   */
  public OptionalInt otherWriter() {
    return otherWriter.get();
  }

  public RamLayout layout() {
    return layout;
  }

  /**
   * How many pages from {@code first} on have content, up to a hole, the end of the block, or
   * {@code limit}.
   *
   * @param limit 1 to {@link Residency#MAX_PAGES}
   * @param residency the calling thread's own
   * @return 0 where {@code first} is a hole; the guest reads zeros there
   */
  public int contentRun(int first, int limit, Residency residency) {
    int block = layout.blockOf(first);
    int count = Math.min(limit, layout.endPageOf(block) - first);
    int resident =
        residency.leadingResident(mappings[block], layout.byteOffsetInBlock(first, block), count);
    if (resident > 0) {
      return resident;
    }
    // A hole, or swapped out: that only the file knows.
    return nextData(first) == first ? 1 : 0;
  }

  /** The first page at or after {@code page} with content, or the end of its block. */
  public int nextData(int page) {
    int block = layout.blockOf(page);
    return pageAt(block, files[block].nextData(layout.byteOffsetInBlock(page, block)));
  }

  /** Tells every run of pages that are holes. */
  public void forEachHole(PageRun consumer) {
    for (int block = 0; block < files.length; block++) {
      RamFile file = files[block];
      long end = file.byteLength();
      for (long hole = file.nextHole(0); hole < end; ) {
        long data = file.nextData(hole);
        consumer.accept(pageAt(block, hole), (int) ((data - hole) / PAGE));
        hole = data < end ? file.nextHole(data) : end;
      }
    }
  }

  /** Takes pages [first, first+count). */
  @FunctionalInterface
  public interface PageRun {
    void accept(int first, int count);
  }

  private int pageAt(int block, long byteOffset) {
    return layout.firstPageOf(block) + (int) (byteOffset / PAGE);
  }

  /** Whether {@code page}, which is not a hole, is zero all over. */
  public boolean isZero(int page) {
    int block = layout.blockOf(page);
    long offset = layout.byteOffsetInBlock(page, block);
    return MemorySegment.mismatch(
            mappings[block].segment(), offset, offset + PAGE, ZERO_PAGE, 0, PAGE)
        == -1;
  }

  /** Appends pages [first, first+count), which lie in one block, to a direct buffer. */
  public void copyTo(ByteBuf buffer, int first, int count) {
    int block = layout.blockOf(first);
    int byteLength = count * PAGE;
    buffer.ensureWritable(byteLength);
    MemorySegment.copy(
        mappings[block].segment(),
        layout.byteOffsetInBlock(first, block),
        ALL_MEMORY,
        buffer.memoryAddress() + buffer.writerIndex(),
        byteLength);
    buffer.writerIndex(buffer.writerIndex() + byteLength);
  }

  @Override
  public void close() {
    for (int i = 0; i < files.length; i++) {
      mappings[i].close();
      files[i].close();
    }
  }
}
