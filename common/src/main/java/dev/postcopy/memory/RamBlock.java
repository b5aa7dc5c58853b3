package dev.postcopy.memory;

/**
 * One block of guest RAM, named as QEMU names it.
 *
 * @param id QEMU's id of the memory backend, the same on both sides
 * @param byteLength its length; a positive multiple of {@link RamLayout#PAGE_BYTES}
 */
public record RamBlock(String id, long byteLength) {

  /**
   * @throws IllegalArgumentException for an empty id or a length that is not whole pages
   */
  public RamBlock {
    if (id.isEmpty()) {
      throw new IllegalArgumentException("a RAM block needs an id");
    }
    if (byteLength <= 0 || byteLength % RamLayout.PAGE_BYTES != 0) {
      throw new IllegalArgumentException(
          "RAM block %s: %d bytes are not whole pages".formatted(id, byteLength));
    }
  }

  /** How many pages the block has. */
  public long pageCount() {
    return byteLength / RamLayout.PAGE_BYTES;
  }
}
