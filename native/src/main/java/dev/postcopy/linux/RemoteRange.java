package dev.postcopy.linux;

/** {@code byteLength} bytes from {@code start} on, in the address space of another process. */
public record RemoteRange(RemoteAddress start, long byteLength) {
  public RemoteRange {
    if (byteLength < 0) {
      throw new IllegalArgumentException("negative length " + byteLength);
    }
  }

  /** The first address behind the range. */
  public RemoteAddress end() {
    return start.plus(byteLength);
  }

  public boolean contains(RemoteAddress address) {
    return Long.compareUnsigned(address.minus(start), byteLength) < 0;
  }

  @Override
  public String toString() {
    return start + "-" + end();
  }
}
