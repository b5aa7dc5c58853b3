package dev.postcopy.dest.attach;

import dev.postcopy.linux.RamFile;
import dev.postcopy.linux.RamMapping;
import dev.postcopy.linux.RemoteRange;
import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.qmp.MemoryBackend;
import java.util.ArrayList;
import java.util.List;

/**
 * Where the guest's RAM lies in the destination QEMU's address space: turns a faulting address into
 * a page index and back. Immutable; for any thread.
 */
public final class GuestRam {

  private final RamLayout layout;
  private final List<RamMapping> mappings;
  private final long[] blockAddress;

  private GuestRam(RamLayout layout, List<RamMapping> mappings) {
    this(
        layout,
        mappings,
        mappings.stream().mapToLong(mapping -> mapping.range().start().value()).toArray());
  }

  private GuestRam(RamLayout layout, List<RamMapping> mappings, long[] blockAddress) {
    this.layout = layout;
    this.mappings = mappings;
    this.blockAddress = blockAddress;
  }

  /**
   * Finds the RAM of a QEMU.
   *
   * @throws dev.postcopy.linux.HostRefusal where a backend's memory cannot be found
   */
  public static GuestRam locate(int pid, List<MemoryBackend> backends) {
    List<RamBlock> blocks = new ArrayList<>();
    List<RamMapping> mappings = new ArrayList<>();
    for (MemoryBackend backend : backends) {
      blocks.add(new RamBlock(backend.id(), backend.byteLength()));
      mappings.add(RamMapping.locate(pid, backend.id(), backend.path(), backend.byteLength()));
    }
    return new GuestRam(new RamLayout(blocks), mappings);
  }

  /** RAM whose blocks lie at the given addresses, which is all that placing pages needs. */
  public static GuestRam at(RamLayout layout, long... blockAddress) {
    return new GuestRam(layout, List.of(), blockAddress.clone());
  }

  public RamLayout layout() {
    return layout;
  }

  /** The ranges of the blocks, in the layout's order. */
  public List<RemoteRange> ranges() {
    return mappings.stream().map(RamMapping::range).toList();
  }

  /** Gives every page of the RAM files back, so that nothing is present. */
  public void punchAll() {
    for (RamMapping mapping : mappings) {
      try (RamFile file = mapping.open(true)) {
        file.punchAll();
      }
    }
  }

  /** Opens the RAM files, in the layout's order, so that pages can be dropped. */
  public List<RamFile> openFiles() {
    List<RamFile> files = new ArrayList<>();
    try {
      mappings.forEach(mapping -> files.add(mapping.open(true)));
      return files;
    } catch (RuntimeException e) {
      files.forEach(RamFile::close);
      throw e;
    }
  }

  /** Tells every run of pages that the RAM files hold, which is what QEMU reads without a fault. */
  public void forEachPresent(PageRun consumer) {
    for (int block = 0; block < mappings.size(); block++) {
      try (RamFile file = mappings.get(block).open(false)) {
        long end = file.byteLength();
        for (long data = file.nextData(0); data < end; ) {
          long hole = file.nextHole(data);
          consumer.accept(
              layout.firstPageOf(block) + (int) (data / RamLayout.PAGE_BYTES),
              (int) ((hole - data) / RamLayout.PAGE_BYTES));
          data = file.nextData(hole);
        }
      }
    }
  }

  /** Takes pages [first, first+count). */
  @FunctionalInterface
  public interface PageRun {
    void accept(int first, int count);
  }

  /** Where {@code page} is in QEMU's address space. */
  public long addressOf(int page) {
    int block = layout.blockOf(page);
    return blockAddress[block] + layout.byteOffsetInBlock(page, block);
  }

  /** The page that {@code address} of QEMU's address space is in, or -1 where it is not RAM. */
  public int pageOf(long address) {
    for (int block = 0; block < blockAddress.length; block++) {
      long page = (address - blockAddress[block]) / RamLayout.PAGE_BYTES;
      if (address >= blockAddress[block]
          && page < layout.endPageOf(block) - layout.firstPageOf(block)) {
        return layout.firstPageOf(block) + (int) page;
      }
    }
    return -1;
  }
}
