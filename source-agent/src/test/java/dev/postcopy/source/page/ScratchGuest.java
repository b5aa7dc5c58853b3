package dev.postcopy.source.page;

import dev.postcopy.linux.RamFile;
import dev.postcopy.linux.ScratchMemory;
import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.source.memory.GuestMemory;
import io.netty.buffer.ByteBuf;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Guest RAM of scratch files, in which a test says what each page is. All holes at first. */
public final class ScratchGuest implements AutoCloseable {

  static final int PAGE = RamLayout.PAGE_BYTES;

  public final GuestMemory memory;
  final RamLayout layout;
  private final List<ScratchMemory> blocks = new ArrayList<>();

  public ScratchGuest(int... pagesOfBlocks) {
    List<RamBlock> ramBlocks = new ArrayList<>();
    List<RamFile> files = new ArrayList<>();
    for (int pages : pagesOfBlocks) {
      ScratchMemory block = ScratchMemory.create((long) pages * PAGE);
      ramBlocks.add(new RamBlock("m" + blocks.size(), block.range().byteLength()));
      blocks.add(block);
      files.add(block.file());
    }
    layout = new RamLayout(ramBlocks);
    memory = GuestMemory.of(layout, files);
  }

  /** What {@code page} is filled with by {@link #writeData}; never zero. */
  static byte contentOf(int page) {
    return (byte) (1 + page % 251);
  }

  public void writeData(int first, int end) {
    for (int page = first; page < end; page++) {
      page(page).fill(contentOf(page));
    }
  }

  /** Pages that exist in the file, and hold zeros. */
  public void writeZeros(int first, int end) {
    for (int page = first; page < end; page++) {
      page(page).fill((byte) 0);
    }
  }

  /** Makes holes of the pages of the first block, as a balloon does. */
  void punch(int first, int end) {
    blocks.getFirst().file().punch((long) first * PAGE, (long) (end - first) * PAGE);
  }

  private MemorySegment page(int page) {
    int block = layout.blockOf(page);
    long address =
        blocks.get(block).range().start().value() + layout.byteOffsetInBlock(page, block);
    return MemorySegment.ofAddress(address).reinterpret(PAGE);
  }

  /** Shortens the file of a block, as nobody should. */
  public void truncate(int block, int pages) {
    blocks.get(block).truncate((long) pages * PAGE);
  }

  /** What the files occupy, in pages. */
  public int allocatedPages() {
    return (int) (blocks.stream().mapToLong(b -> b.file().allocatedBytes()).sum() / PAGE);
  }

  /** Whether {@code bytes} hold the pages from {@code first} on. */
  public static boolean isContentOf(int first, int count, ByteBuf bytes) {
    if (bytes.readableBytes() != count * PAGE) {
      return false;
    }
    byte[] expected = new byte[PAGE];
    for (int i = 0; i < count; i++) {
      Arrays.fill(expected, contentOf(first + i));
      ByteBuffer page = bytes.nioBuffer(bytes.readerIndex() + i * PAGE, PAGE);
      if (!page.equals(ByteBuffer.wrap(expected))) {
        return false;
      }
    }
    return true;
  }

  @Override
  public void close() {
    memory.close();
    blocks.forEach(ScratchMemory::close);
  }
}
