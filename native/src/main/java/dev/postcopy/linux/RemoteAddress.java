package dev.postcopy.linux;

/**
 * An address in the address space of another process. It is not a MemorySegment on purpose: nothing
 * in this process can be read or written through it.
 *
 * @param value the 64 bits of the address, unsigned
 */
public record RemoteAddress(long value) implements Comparable<RemoteAddress> {
  public RemoteAddress plus(long byteCount) {
    return new RemoteAddress(value + byteCount);
  }

  /** Bytes from {@code other} up to this address. */
  public long minus(RemoteAddress other) {
    return value - other.value;
  }

  @Override
  public int compareTo(RemoteAddress other) {
    return Long.compareUnsigned(value, other.value);
  }

  @Override
  public String toString() {
    return "0x" + Long.toHexString(value);
  }
}
