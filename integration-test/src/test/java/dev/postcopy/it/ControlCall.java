package dev.postcopy.it;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;

/**
 * Says a command to a source agent as {@code source-agent cancel} does, but at once: the connection
 * is there before.
 */
final class ControlCall implements AutoCloseable {

  private final SocketChannel channel;

  private ControlCall(SocketChannel channel) {
    this.channel = channel;
  }

  /** The agent that is at work on the migration of a QEMU. */
  static ControlCall to(QemuProcess qemu) {
    try {
      return new ControlCall(
          SocketChannel.open(UnixDomainSocketAddress.of(AgentProcess.controlSocket(qemu))));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  void say(String command) {
    try {
      channel.write(ByteBuffer.wrap("{\"command\":\"%s\"}\n".formatted(command).getBytes(UTF_8)));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A line of JSON. */
  String answer() {
    try {
      String line = new BufferedReader(Channels.newReader(channel, UTF_8)).readLine();
      if (line == null) {
        throw new AssertionError("the agent has not answered");
      }
      return line;
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
