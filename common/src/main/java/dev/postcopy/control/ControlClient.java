package dev.postcopy.control;

import dev.postcopy.cli.Refusal;
import java.io.BufferedReader;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;
import tools.jackson.databind.node.ObjectNode;

/** Gives one command to an agent of this host, and reads its answers. For one thread. */
public final class ControlClient implements AutoCloseable {

  private static final ObjectMapper JSON = new ObjectMapper();

  private final SocketChannel channel;
  private final BufferedReader answers;

  private ControlClient(SocketChannel channel) {
    this.channel = channel;
    this.answers = new BufferedReader(Channels.newReader(channel, StandardCharsets.UTF_8));
  }

  /**
   * Says {@code request} to the agent that listens at {@code socket}.
   *
   * @param none what an operator is told where nobody listens
   * @throws Refusal {@code none}, or where the agent cannot be spoken to
   */
  public static ControlClient ask(Path socket, ObjectNode request, Supplier<Refusal> none) {
    SocketChannel channel;
    try {
      channel = connect(socket);
    } catch (IOException e) {
      if (Files.exists(socket) && !Files.isWritable(socket)) {
        throw new Refusal(
            "%s is not for this user".formatted(socket), "run the command as root, or with sudo");
      }
      throw none.get();
    }
    try {
      ByteBuffer line = ByteBuffer.wrap((request + "\n").getBytes(StandardCharsets.UTF_8));
      while (line.hasRemaining()) {
        channel.write(line);
      }
      return new ControlClient(channel);
    } catch (IOException e) {
      closeQuietly(channel);
      throw gone();
    }
  }

  private static SocketChannel connect(Path socket) throws IOException {
    SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX);
    try {
      channel.connect(UnixDomainSocketAddress.of(socket));
      return channel;
    } catch (IOException e) {
      closeQuietly(channel);
      throw e;
    }
  }

  /** Whether somebody listens at {@code socket}. */
  static boolean isAnswered(Path socket) {
    try {
      connect(socket).close();
      return true;
    } catch (IOException e) {
      return false;
    }
  }

  /**
   * The next answer; null behind the last one, also where that is the last because the agent is
   * gone.
   *
   * @throws Refusal where the agent refuses
   */
  public @Nullable JsonNode next() {
    try {
      String line = answers.readLine();
      if (line == null) {
        return null;
      }
      JsonNode answer = JSON.readTree(line);
      if (answer.has(Answers.REFUSED)) {
        throw Refusal.ofMessage(answer.path(Answers.REFUSED).asString());
      }
      return answer;
    } catch (IOException | JacksonException e) {
      // What it had begun goes on without it, or not: who asked it cannot know, as at an end.
      return null;
    }
  }

  /**
   * The only answer.
   *
   * @throws Refusal where the agent refuses, or is gone
   */
  public JsonNode only() {
    JsonNode answer = next();
    if (answer == null) {
      throw gone();
    }
    return answer;
  }

  private static Refusal gone() {
    return new Refusal("the agent has ended, or does not answer", "look at its log");
  }

  @Override
  public void close() {
    closeQuietly(channel);
  }

  private static void closeQuietly(SocketChannel channel) {
    try {
      channel.close();
    } catch (IOException e) {
      // Nothing was to be said any more.
    }
  }
}
