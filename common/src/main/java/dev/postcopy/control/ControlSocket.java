package dev.postcopy.control;

import dev.postcopy.cli.Refusal;
import java.io.IOException;
import java.net.ConnectException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.UUID;
import java.util.function.UnaryOperator;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A unix socket in the state folder, which is its owner's only, on which a running migration hears
 * commands: one line for each connection, answered by one line. The socket's name is made of that
 * of QEMU's monitor, by which operators know a guest. A thread of its own serves it.
 */
public final class ControlSocket implements AutoCloseable {

  private static final Logger log = LoggerFactory.getLogger(ControlSocket.class);

  private static final int MAX_LINE_BYTES = 1024;

  private final Path file;
  private final ServerSocketChannel listening;
  private final UnaryOperator<String> commands;

  private ControlSocket(Path file, ServerSocketChannel listening, UnaryOperator<String> commands) {
    this.file = file;
    this.listening = listening;
    this.commands = commands;
  }

  /**
   * Begins to listen.
   *
   * @param folder exists
   * @param qmpSocket of the QEMU whose guest moves; one agent at a time holds its monitor
   * @param commands gives the answer to a command; on the socket's thread
   */
  public static ControlSocket open(Path folder, Path qmpSocket, UnaryOperator<String> commands)
      throws IOException {
    Path file = file(folder, qmpSocket);
    // One that an agent before us left: it had the same monitor, which is ours now.
    Files.deleteIfExists(file);
    ServerSocketChannel channel = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
    channel.bind(UnixDomainSocketAddress.of(file));
    ControlSocket socket = new ControlSocket(file, channel, commands);
    Thread.ofPlatform().daemon().name("commands").start(socket::serve);
    return socket;
  }

  private static Path file(Path folder, Path qmpSocket) {
    String monitor = qmpSocket.toAbsolutePath().normalize().toString();
    UUID name = UUID.nameUUIDFromBytes(monitor.getBytes(StandardCharsets.UTF_8));
    return folder.resolve(name + ".control");
  }

  private void serve() {
    while (listening.isOpen()) {
      try (SocketChannel caller = listening.accept()) {
        String command = readLine(caller);
        log.info("told: {}", command);
        write(caller, commands.apply(command));
      } catch (IOException e) {
        log.debug("command", e);
      }
    }
  }

  /**
   * Says {@code command} to the migration of a QEMU.
   *
   * @return its answer
   * @throws Refusal where none is under way
   */
  public static String say(Path folder, Path qmpSocket, String command) {
    try (SocketChannel channel =
        SocketChannel.open(UnixDomainSocketAddress.of(file(folder, qmpSocket)))) {
      write(channel, command);
      return readLine(channel);
    } catch (NoSuchFileException | ConnectException e) {
      throw none(folder, qmpSocket);
    } catch (IOException e) {
      throw e.getMessage() != null && e.getMessage().contains("No such file")
          ? none(folder, qmpSocket)
          : new Refusal("the agent does not answer: " + e.getMessage(), "look at its log");
    }
  }

  private static Refusal none(Path folder, Path qmpSocket) {
    return new Refusal(
        "no migration of %s is under way in %s".formatted(qmpSocket, folder),
        "name the monitor and the --state-dir that the agent was given");
  }

  private static String readLine(SocketChannel channel) throws IOException {
    ByteBuffer line = ByteBuffer.allocate(MAX_LINE_BYTES);
    while (line.hasRemaining() && channel.read(line) >= 0) {
      if (line.get(line.position() - 1) == '\n') {
        return new String(line.array(), 0, line.position() - 1, StandardCharsets.UTF_8);
      }
    }
    throw new IOException("a line that does not end");
  }

  private static void write(SocketChannel channel, String line) throws IOException {
    ByteBuffer bytes = ByteBuffer.wrap((line + "\n").getBytes(StandardCharsets.UTF_8));
    while (bytes.hasRemaining()) {
      channel.write(bytes);
    }
  }

  @Override
  public void close() {
    try {
      listening.close();
      Files.deleteIfExists(file);
    } catch (IOException e) {
      log.debug("closing {}", file, e);
    }
  }
}
