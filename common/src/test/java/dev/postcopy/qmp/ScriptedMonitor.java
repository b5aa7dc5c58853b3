package dev.postcopy.qmp;

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/**
 * What listens where a QMP socket should be, and is not QEMU or has gone mad: it follows a script
 * for one connection. It proves nothing about QEMU, only about the client.
 */
final class ScriptedMonitor implements AutoCloseable {

  static final String GREETING = "{\"QMP\":{\"version\":{},\"capabilities\":[]}}\n";

  /** What it does with a connection; the connection is closed when this returns. */
  @FunctionalInterface
  interface Script {
    void play(Peer peer) throws IOException;
  }

  /** The connection, from the monitor's end. */
  static final class Peer {

    private final SocketChannel channel;

    private Peer(SocketChannel channel) {
      this.channel = channel;
    }

    /** Blocks while the client does not read. */
    void send(String text) throws IOException {
      ByteBuffer bytes = ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
      while (bytes.hasRemaining()) {
        channel.write(bytes);
      }
    }

    /** The next command, up to its end of line; "" where the client is gone. */
    String awaitCommand() throws IOException {
      StringBuilder line = new StringBuilder();
      ByteBuffer one = ByteBuffer.allocate(1);
      while (channel.read(one.clear()) == 1) {
        if (one.get(0) == '\n') {
          return line.toString();
        }
        line.append((char) one.get(0));
      }
      return "";
    }

    void awaitClientGone() throws IOException {
      while (!awaitCommand().isEmpty()) {
        // It may say what it likes.
      }
    }

    /** Greets and lets the client out of negotiation mode. */
    void greet() throws IOException {
      send(GREETING);
      answer(awaitCommand(), "{}");
    }

    void answer(String command, String result) throws IOException {
      send("{\"return\":" + result + ",\"id\":" + id(command) + "}\n");
    }

    static String id(String command) {
      return command.replaceAll(".*\"id\":(\\d+).*", "$1");
    }
  }

  private final ServerSocketChannel listening;
  private final Thread thread;

  ScriptedMonitor(Path socket, Script script) throws IOException {
    listening = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
    listening.bind(UnixDomainSocketAddress.of(socket));
    thread = Thread.ofPlatform().name("scripted-monitor").daemon().start(() -> serve(script));
  }

  private void serve(Script script) {
    try (SocketChannel channel = listening.accept()) {
      script.play(new Peer(channel));
    } catch (IOException e) {
      // The client closed the connection: it has seen enough.
    }
  }

  /** Waits until the script is over, which it is when the client has closed. */
  @Override
  public void close() throws IOException {
    listening.close();
    try {
      thread.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted while the script of the monitor was not over", e);
    }
  }
}
