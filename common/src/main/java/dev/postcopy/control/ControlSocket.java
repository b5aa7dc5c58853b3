package dev.postcopy.control;

import dev.postcopy.cli.Refusal;
import dev.postcopy.journal.Journal;
import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.IoEventLoop;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.netty.channel.unix.DomainSocketAddress;
import io.netty.handler.codec.LineBasedFrameDecoder;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.UUID;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;

/**
 * A unix socket in the state folder on which an agent hears commands, for its owner and group only:
 * a JSON object in one line for each connection, answered by JSON objects in lines, of which the
 * last closes the connection. Served by one event loop.
 */
public final class ControlSocket implements AutoCloseable {

  private static final Logger log = LoggerFactory.getLogger(ControlSocket.class);
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int MAX_LINE_BYTES = 4096;

  private final Path file;
  private final Channel listening;

  private ControlSocket(Path file, Channel listening) {
    this.file = file;
    this.listening = listening;
  }

  /** Takes a command; on the socket's loop, which it must not hold up. */
  @FunctionalInterface
  public interface Commands {

    /**
     * @throws Refusal which is the answer then
     */
    void onRequest(JsonNode request, Answers answers);
  }

  /** The socket of an agent that serves many migrations. */
  public static Path ofDaemon(Path stateFolder, String agent) {
    return stateFolder.resolve(agent + ".sock");
  }

  /**
   * The socket of an agent that serves one migration. Its name is made of that of QEMU's monitor,
   * by which operators know a guest.
   */
  public static Path ofMonitor(Path stateFolder, Path qmpSocket) {
    String monitor = qmpSocket.toAbsolutePath().normalize().toString();
    UUID name = UUID.nameUUIDFromBytes(monitor.getBytes(StandardCharsets.UTF_8));
    return stateFolder.resolve(name + ".control");
  }

  /**
   * Begins to listen; one that an agent before us left is replaced.
   *
   * @param file in the state folder
   * @throws Refusal where another agent listens there, or the folder cannot be written to
   */
  public static ControlSocket open(IoEventLoop loop, Path file, Commands commands) {
    Path folder = file.resolveSibling("").toAbsolutePath();
    // On a disk that is full too: what was left there is to be taken up.
    Journal.requireFolder(folder);
    if (ControlClient.isAnswered(file)) {
      throw Refusal.passing(
          "another agent is at work here and listens at " + file,
          "leave it to that agent, end it first, or give this one a --state-dir of its own");
    }
    try {
      // In a folder that nobody else may enter until the socket has its rights.
      Path hidden = Journal.hiddenFolder(folder);
      Path made = hidden.resolve("socket");
      Channel channel = bind(loop, made, commands);
      Files.setPosixFilePermissions(made, PosixFilePermissions.fromString("rw-rw----"));
      Files.move(made, file, StandardCopyOption.ATOMIC_MOVE);
      Files.delete(hidden);
      return new ControlSocket(file, channel);
    } catch (IOException e) {
      throw new Refusal(
          "cannot listen for commands at %s: %s".formatted(file, e.getMessage()),
          "name another folder with --state-dir");
    }
  }

  private static Channel bind(IoEventLoop loop, Path path, Commands commands) throws IOException {
    ChannelFuture bound =
        new ServerBootstrap()
            .group(loop)
            .channel(EpollServerDomainSocketChannel.class)
            .childHandler(
                new ChannelInitializer<Channel>() {
                  @Override
                  protected void initChannel(Channel channel) {
                    channel
                        .pipeline()
                        .addLast(
                            new LineBasedFrameDecoder(MAX_LINE_BYTES, true, true),
                            new Caller(commands));
                  }
                })
            .bind(new DomainSocketAddress(path.toFile()))
            .awaitUninterruptibly();
    if (!bound.isSuccess()) {
      throw new IOException(String.valueOf(bound.cause().getMessage()), bound.cause());
    }
    return bound.channel();
  }

  @Override
  public void close() {
    listening.close().awaitUninterruptibly();
    try {
      Files.deleteIfExists(file);
    } catch (IOException e) {
      log.debug("closing {}", file, e);
    }
  }

  /** One who asks. */
  private static final class Caller extends SimpleChannelInboundHandler<ByteBuf> {

    private final Commands commands;
    private boolean asked;

    Caller(Commands commands) {
      this.commands = commands;
    }

    @Override
    protected void channelRead0(ChannelHandlerContext ctx, ByteBuf line) {
      Answers answers = new Answers(ctx.channel());
      if (asked) {
        answers.refuse(new Refusal("a second request", "open a connection for each"));
        return;
      }
      asked = true;
      String text = line.toString(StandardCharsets.UTF_8);
      log.info("told: {}", text);
      try {
        commands.onRequest(JSON.readTree(text), answers);
      } catch (Refusal e) {
        answers.refuse(e);
      } catch (JacksonException e) {
        answers.refuse(new Refusal("a request that is not JSON", "use this agent's commands"));
      }
    }

    @Override
    public void exceptionCaught(ChannelHandlerContext ctx, Throwable cause) {
      log.debug("command", cause);
      ctx.close();
    }
  }
}
