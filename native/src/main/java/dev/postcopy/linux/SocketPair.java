package dev.postcopy.linux;

/** The two ends of a connection. */
public record SocketPair(OwnedFd first, OwnedFd second) implements AutoCloseable {
  @Override
  public void close() {
    first.close();
    second.close();
  }
}
