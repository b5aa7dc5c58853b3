package dev.postcopy.it;

import static java.nio.charset.StandardCharsets.ISO_8859_1;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;

/**
 * The other end of a guest's serial port. A thread always reads, so that the guest never waits for
 * this JVM.
 */
final class SerialPort implements AutoCloseable {

  /**
   * A line that the guest wrote.
   *
   * @param arrivedNs {@link System#nanoTime} when its end arrived
   */
  record Line(String text, long arrivedNs) {}

  private final Path path;
  private final SocketChannel channel;
  private final List<Line> lines = new ArrayList<>();
  private long bytes;
  private boolean closed;

  private SerialPort(Path path, SocketChannel channel) {
    this.path = path;
    this.channel = channel;
  }

  static SerialPort connect(Path path) throws IOException {
    SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX);
    try {
      channel.connect(UnixDomainSocketAddress.of(path));
    } catch (IOException e) {
      channel.close();
      throw e;
    }
    SerialPort port = new SerialPort(path, channel);
    Thread.ofPlatform().daemon().name("serial " + path.getParent()).start(port::read);
    return port;
  }

  private void read() {
    ByteBuffer buffer = ByteBuffer.allocate(4096);
    StringBuilder line = new StringBuilder();
    try {
      while (channel.read(buffer.clear()) >= 0) {
        long now = System.nanoTime();
        String text = ISO_8859_1.decode(buffer.flip()).toString();
        synchronized (lines) {
          bytes += text.length();
          for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '\n') {
              lines.add(new Line(line.toString(), now));
              line.setLength(0);
            } else if (c != '\r') {
              line.append(c);
            }
          }
          lines.notifyAll();
        }
      }
    } catch (IOException e) {
      // QEMU is gone, or this was closed; those who wait are told below.
    }
    synchronized (lines) {
      closed = true;
      lines.notifyAll();
    }
  }

  /** How many bytes the guest has written: the progress of a guest that writes no lines. */
  long bytes() {
    synchronized (lines) {
      return bytes;
    }
  }

  /**
   * How many lines there are now: the position to wait from for an answer to what is written next.
   */
  int position() {
    synchronized (lines) {
      return lines.size();
    }
  }

  List<Line> linesFrom(int position) {
    synchronized (lines) {
      return List.copyOf(lines.subList(position, lines.size()));
    }
  }

  /** The first line from {@code position} on that is wanted, and its position. */
  Line await(int position, Predicate<String> wanted, String what, Duration timeout) {
    long deadline = System.nanoTime() + timeout.toNanos();
    int at = position;
    synchronized (lines) {
      for (; ; ) {
        for (; at < lines.size(); at++) {
          if (wanted.test(lines.get(at).text())) {
            return lines.get(at);
          }
        }
        long leftMs = (deadline - System.nanoTime()) / 1_000_000;
        if (closed || leftMs <= 0) {
          throw new AssertionError(
              "the guest did not say "
                  + what
                  + (closed ? " before QEMU closed " : " within " + timeout.toMillis() + " ms on ")
                  + path
                  + "; its last lines: "
                  + lines.subList(Math.max(0, lines.size() - 10), lines.size()).stream()
                      .map(Line::text)
                      .toList());
        }
        try {
          lines.wait(leftMs);
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
          throw new IllegalStateException(e);
        }
      }
    }
  }

  void write(String text) {
    try {
      ByteBuffer buffer = ISO_8859_1.encode(text);
      while (buffer.hasRemaining()) {
        channel.write(buffer);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public void close() {
    try {
      channel.close();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
