package dev.postcopy.qmp;

import dev.postcopy.cli.Refusal;
import io.netty.bootstrap.Bootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import io.netty.channel.unix.DomainSocketAddress;
import io.netty.handler.codec.TooLongFrameException;
import io.netty.handler.codec.json.JsonObjectDecoder;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.core.JsonParser;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;
import tools.jackson.databind.node.ObjectNode;

/**
 * A client of QEMU's machine protocol (QEMU: docs/interop/qmp-spec.rst). Commands may be sent from
 * any thread but the client's own event loop; events arrive on that loop, in order.
 *
 * <p>QEMU's main thread answers, and it may be blocked by a missing page: the thread that serves
 * faults must never wait here.
 */
public final class QmpClient implements AutoCloseable {

  private static final Logger log = LoggerFactory.getLogger(QmpClient.class);
  private static final ObjectMapper JSON = new ObjectMapper();

  /**
   * The longest answer that is taken; the QOM lists of a large machine are far below. As a tree it
   * takes some thirty times as much, and an agent's heap is small.
   */
  private static final int MAX_ANSWER_BYTES = 1 << 20;

  /** The longest description of an error that is passed on, in characters. */
  private static final int MAX_DESCRIPTION = 1024;

  private static final int MAX_WAITING_EVENTS = 256;

  /** What {@link #begin} leaves of a command: the brace that QEMU waits for. */
  private static final int END_BYTES = "}\n".length();

  /** A control character, at which QEMU forgets what it has of a command (QEMU: qmp-spec.rst). */
  private static final byte FORGET = 0x18;

  private static final Pattern CONTROL_CHARACTER = Pattern.compile("\\p{Cntrl}");

  private static final Duration GREETING_TIMEOUT = Duration.ofSeconds(3);

  /** How long QEMU may take for a command that has no reason to wait. */
  public static final Duration COMMAND_TIMEOUT = Duration.ofSeconds(10);

  private final EpollDomainSocketChannel channel;
  private final Map<Long, CompletableFuture<JsonNode>> pending = new ConcurrentHashMap<>();
  private final AtomicLong lastId = new AtomicLong();
  private final CompletableFuture<JsonNode> greeting;
  private final CompletableFuture<Void> closed = new CompletableFuture<>();
  private volatile Consumer<QmpEvent> eventListener = event -> {};
  private volatile String goneBecause = "QEMU is gone";

  /** Of which QEMU has all but the end; for the event loop. */
  private @Nullable Request begun;

  private QmpClient(EpollDomainSocketChannel channel, CompletableFuture<JsonNode> greeting) {
    this.channel = channel;
    this.greeting = greeting;
  }

  /**
   * Connects, takes the greeting and leaves negotiation mode.
   *
   * @throws Refusal where nothing listens at {@code socket}, or something that is not QMP
   */
  public static QmpClient connect(EventLoopGroup loop, Path socket) {
    CompletableFuture<JsonNode> greeting = new CompletableFuture<>();
    Answers answers = new Answers(greeting);
    Bootstrap bootstrap =
        new Bootstrap()
            .group(loop)
            .channel(EpollDomainSocketChannel.class)
            .handler(
                new ChannelInitializer<EpollDomainSocketChannel>() {
                  @Override
                  protected void initChannel(EpollDomainSocketChannel channel) {
                    answers.client = new QmpClient(channel, greeting);
                    JsonObjectDecoder objects = new JsonObjectDecoder(MAX_ANSWER_BYTES);
                    // Its limit is for what it holds, and that would be many objects that were
                    // read.
                    objects.setDiscardAfterReads(1);
                    channel.pipeline().addLast(objects, answers);
                  }
                });
    ChannelFuture connected =
        bootstrap.connect(new DomainSocketAddress(socket.toFile())).awaitUninterruptibly();
    QmpClient client = answers.client;
    if (!connected.isSuccess() || client == null) {
      throw new Refusal(
          "cannot connect to the QMP socket " + socket + ": " + reason(connected.cause()),
          "start QEMU with -qmp unix:" + socket + ",server=on,wait=off, or name its socket");
    }
    client.takeGreeting(socket);
    return client;
  }

  private static String reason(@Nullable Throwable cause) {
    if (cause instanceof FileNotFoundException) {
      return "No such file or directory";
    }
    String message = cause == null ? null : cause.getMessage();
    if (message == null) {
      return "unknown error";
    }
    // Netty's message ends with the errno's text, behind the name of its own call.
    return message.contains("No such file")
        ? "No such file or directory"
        : message.contains("Connection refused") ? "Connection refused" : message;
  }

  private void takeGreeting(Path socket) {
    try {
      greeting.get(GREETING_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
      execute("qmp_capabilities");
    } catch (TimeoutException e) {
      close();
      throw new Refusal(
          "no QMP greeting from " + socket,
          "another client may hold this monitor, or it is not QMP: give QEMU a second -qmp socket");
    } catch (ExecutionException | QmpException e) {
      close();
      throw new Refusal(
          socket + " does not speak QMP",
          "name the socket of QEMU's -qmp option, not another socket of it");
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      close();
      throw new QmpException("interrupted");
    }
  }

  /**
   * From now on what QEMU says of a migration, and of the guest's running, is posted to a session;
   * all else is not. While many events of any kind wait there QEMU is not heard: a migration has
   * about ten, and a QEMU that says more must not fill the memory of an agent that is busy.
   *
   * @param as makes of QEMU's event one of the session's
   */
  public <E> void reportTo(Queue<? super E> session, Function<QmpEvent, E> as) {
    AtomicBoolean told = new AtomicBoolean();
    eventListener =
        event -> {
          if (!event.isOfMigration()) {
            return;
          }
          if (session.size() < MAX_WAITING_EVENTS) {
            session.add(as.apply(event));
          } else if (told.compareAndSet(false, true)) {
            log.warn("more than {} events of QEMU at once, some are lost", MAX_WAITING_EVENTS);
          }
        };
  }

  /** Takes {@code message} as if QEMU had said it now, so that the way of one can be rehearsed. */
  void hear(String message) {
    channel.eventLoop().execute(() -> hear(Unpooled.copiedBuffer(message, StandardCharsets.UTF_8)));
  }

  private void hear(ByteBuf message) {
    // Behind the decoder, which may hold the first half of something that QEMU did say.
    ChannelHandlerContext decoder = channel.pipeline().context(JsonObjectDecoder.class);
    if (decoder == null) {
      // The connection is closed, and who listens knows.
      message.release();
    } else {
      decoder.fireChannelRead(message);
    }
  }

  /** Completes when QEMU has closed the connection, or {@link #close} was called. */
  public CompletableFuture<Void> closed() {
    return closed;
  }

  /**
   * The process that listens at the socket, by SO_PEERCRED (unix(7)).
   *
   * @throws QmpException where the kernel does not tell
   */
  public int peerPid() {
    try {
      return channel.peerCredentials().pid();
    } catch (IOException e) {
      throw new QmpException("SO_PEERCRED: " + e.getMessage());
    }
  }

  /** {@link #execute(String, Map, Duration)} without arguments. */
  public JsonNode execute(String command) {
    return execute(command, Map.of(), COMMAND_TIMEOUT);
  }

  /**
   * Executes a command of the human monitor.
   *
   * @return what it prints
   */
  String humanMonitor(String command) {
    return execute("human-monitor-command", Map.of("command-line", command)).asString("");
  }

  /** {@link #execute(String, Map, Duration)} with the usual time. */
  public JsonNode execute(String command, Map<String, ?> arguments) {
    return execute(command, arguments, COMMAND_TIMEOUT);
  }

  /**
   * Sends a command and waits for its answer.
   *
   * @return what the answer says behind "return"
   * @throws QmpException where QEMU says no, says nothing in time, or is gone
   */
  public JsonNode execute(String command, Map<String, ?> arguments, Duration timeout) {
    return await(command, send(command, arguments), timeout);
  }

  /** Sends a command; the future completes with its answer, or with a {@link QmpException}. */
  public CompletableFuture<JsonNode> send(String command, Map<String, ?> arguments) {
    return send(prepare(command, arguments));
  }

  /**
   * A command that is to be sent once, or not at all: what it says is found before something waits
   * for it. The future of its answer is there already.
   */
  public record Request(ByteBuf bytes, CompletableFuture<JsonNode> answer) {}

  /** Makes a command that can be sent later. */
  public Request prepare(String command, Map<String, ?> arguments) {
    long id = lastId.incrementAndGet();
    CompletableFuture<JsonNode> answer = new CompletableFuture<>();
    pending.put(id, answer);
    if (closed.isDone()) {
      answer.completeExceptionally(new QmpException(goneBecause));
    }
    ObjectNode message = JSON.createObjectNode().put("execute", command).put("id", id);
    if (!arguments.isEmpty()) {
      message.set("arguments", JSON.valueToTree(arguments));
    }
    log.debug("→ {}", message);
    return new Request(Unpooled.copiedBuffer(message + "\n", StandardCharsets.UTF_8), answer);
  }

  /**
   * Lets QEMU have a command that was prepared, but for its end: it does nothing until that is
   * sent, and nothing at all where another command comes first or the connection ends. QEMU takes
   * what it is told byte by byte, with a few system calls for each (QEMU: monitor_can_read,
   * monitor/monitor.c): of a whole command that is the tenth of a millisecond and more.
   */
  public void begin(Request request) {
    channel
        .eventLoop()
        .execute(
            () -> {
              forgetBegun();
              begun = request;
              ByteBuf bytes = request.bytes();
              channel.writeAndFlush(bytes.readRetainedSlice(bytes.readableBytes() - END_BYTES));
            });
  }

  /** Sends a command that was prepared; its future completes as that of {@link #send}. */
  public CompletableFuture<JsonNode> send(Request request) {
    channel.eventLoop().execute(() -> write(request));
    return request.answer();
  }

  private void write(Request request) {
    if (request.equals(begun)) {
      begun = null;
    } else {
      forgetBegun();
    }
    channel
        .writeAndFlush(request.bytes())
        .addListener(
            written -> {
              if (!written.isSuccess()) {
                request.answer().completeExceptionally(new QmpException(goneBecause));
              }
            });
  }

  /** It may be sent later all the same, from its beginning. */
  private void forgetBegun() {
    if (begun != null) {
      channel.writeAndFlush(Unpooled.wrappedBuffer(new byte[] {FORGET}));
      begun.bytes().readerIndex(0);
      begun = null;
    }
  }

  /** Sends a command with a descriptor beside it: for {@code getfd} and its kin. */
  public JsonNode executeWithDescriptor(
      String command, Map<String, ?> arguments, int descriptor, DescriptorSender sender) {
    Request request = prepare(command, arguments);
    // On the loop, so that the bytes cannot land in the middle of another command's.
    channel
        .eventLoop()
        .execute(
            () -> {
              forgetBegun();
              try {
                sender.send(
                    channel.fd().intValue(), ByteBufUtil.getBytes(request.bytes()), descriptor);
              } catch (RuntimeException e) {
                request.answer().completeExceptionally(new QmpException(String.valueOf(e)));
              }
            });
    return await(command, request.answer(), COMMAND_TIMEOUT);
  }

  @Override
  public void close() {
    channel.close().awaitUninterruptibly();
  }

  static JsonNode await(String command, CompletableFuture<JsonNode> answer, Duration time) {
    try {
      return answer.get(time.toMillis(), TimeUnit.MILLISECONDS);
    } catch (TimeoutException e) {
      throw new QmpException("%s: no answer within %d ms".formatted(command, time.toMillis()));
    } catch (ExecutionException e) {
      String message = e.getCause() == null ? null : e.getCause().getMessage();
      throw new QmpException(command + ": " + message);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new QmpException(command + ": interrupted");
    }
  }

  private void answered(JsonNode message) {
    CompletableFuture<JsonNode> answer = pending.remove(message.path("id").asLong(0));
    if (answer == null) {
      log.debug("an answer to nothing: {}", message);
    } else if (message.has("error")) {
      answer.completeExceptionally(new QmpException(description(message.path("error"))));
    } else {
      answer.complete(message.path("return"));
    }
  }

  /** It ends on an operator's terminal, as one line. */
  private static String description(JsonNode error) {
    String description = error.path("desc").asString("unknown error");
    return CONTROL_CHARACTER
        .matcher(description.substring(0, Math.min(description.length(), MAX_DESCRIPTION)))
        .replaceAll(" ");
  }

  private void gone() {
    closed.complete(null);
    pending.values().forEach(a -> a.completeExceptionally(new QmpException(goneBecause)));
  }

  private static final class Answers extends SimpleChannelInboundHandler<ByteBuf> {

    private final CompletableFuture<JsonNode> greeting;
    private volatile @Nullable QmpClient client;

    Answers(CompletableFuture<JsonNode> greeting) {
      this.greeting = greeting;
    }

    @Override
    protected void channelRead0(ChannelHandlerContext ctx, ByteBuf bytes) {
      long arrivalNanos = System.nanoTime();
      QmpClient owner = client;
      byte[] message = ByteBufUtil.getBytes(bytes);
      if (log.isDebugEnabled()) {
        log.debug("← {}", JSON.readTree(message));
      }
      if (owner == null) {
        return;
      }
      QmpEvent event;
      try (JsonParser parser = JSON.createParser(message)) {
        event = QmpEvent.read(parser, arrivalNanos);
      }
      if (event == null) {
        take(JSON.readTree(message), owner);
      } else {
        owner.eventListener.accept(event);
      }
    }

    private void take(JsonNode message, QmpClient owner) {
      if (message.has("QMP")) {
        greeting.complete(message.path("QMP"));
      } else {
        owner.answered(message);
      }
    }

    @Override
    public void channelInactive(ChannelHandlerContext ctx) {
      greeting.completeExceptionally(new QmpException("the connection was closed"));
      QmpClient owner = client;
      if (owner != null) {
        owner.gone();
      }
    }

    @Override
    public void exceptionCaught(ChannelHandlerContext ctx, Throwable cause) {
      log.debug("QMP connection", cause);
      QmpClient owner = client;
      if (owner != null && !(cause instanceof IOException)) {
        owner.goneBecause =
            cause instanceof TooLongFrameException
                ? "QEMU's monitor sent more than %d bytes at once".formatted(MAX_ANSWER_BYTES)
                : "QEMU's monitor sent what is not QMP";
        if (greeting.isDone()) {
          log.warn("{}; disconnected", owner.goneBecause);
        }
      }
      greeting.completeExceptionally(cause);
      ctx.close();
    }
  }
}
