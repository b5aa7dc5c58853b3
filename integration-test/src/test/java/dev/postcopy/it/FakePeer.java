package dev.postcopy.it;

import java.io.Closeable;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** A server that is not what an agent expects: it says the same to everybody, or nothing. */
final class FakePeer implements AutoCloseable {

  private final ServerSocketChannel listening;
  private final byte[] greeting;
  private final List<SocketChannel> accepted = new ArrayList<>();

  private FakePeer(ServerSocketChannel listening, byte[] greeting) {
    this.listening = listening;
    this.greeting = greeting;
    Thread.ofPlatform().daemon().name("fake peer").start(this::accept);
  }

  /** On a free port of the loop-back address. */
  static FakePeer onTcp(byte[] greeting) {
    try {
      ServerSocketChannel channel = ServerSocketChannel.open();
      return bind(channel, new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), greeting);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static FakePeer onUnix(Path socket, byte[] greeting) {
    try {
      ServerSocketChannel channel = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
      return bind(channel, UnixDomainSocketAddress.of(socket), greeting);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static FakePeer bind(ServerSocketChannel channel, SocketAddress address, byte[] greeting)
      throws IOException {
    channel.bind(address);
    return new FakePeer(channel, greeting);
  }

  int port() {
    try {
      return ((InetSocketAddress) listening.getLocalAddress()).getPort();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Keeps every connection open, so that nobody is told by its end. */
  private void accept() {
    try {
      while (true) {
        SocketChannel channel = listening.accept();
        synchronized (accepted) {
          accepted.add(channel);
        }
        ByteBuffer bytes = ByteBuffer.wrap(greeting);
        while (bytes.hasRemaining()) {
          channel.write(bytes);
        }
      }
    } catch (IOException e) {
      // Closed.
    }
  }

  @Override
  public void close() {
    close(listening);
    synchronized (accepted) {
      accepted.forEach(FakePeer::close);
    }
  }

  private static void close(Closeable channel) {
    try {
      channel.close();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
