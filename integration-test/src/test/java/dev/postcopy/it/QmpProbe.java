package dev.postcopy.it;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/**
 * A plain blocking QMP client for the tests' own use, independent of the agents' one. One thread
 * reads; commands may be given from any thread, one at a time.
 */
final class QmpProbe implements AutoCloseable {

  private static final ObjectMapper JSON = JsonMapper.builder().build();
  private static final Duration ANSWER_TIMEOUT = Duration.ofSeconds(60);

  /**
   * An event.
   *
   * @param qemuTime QEMU's own time stamp; stamps of two QEMU processes on one host can be compared
   * @param arrivedNs {@link System#nanoTime} on arrival
   */
  record Event(String name, JsonNode data, Instant qemuTime, long arrivedNs) {}

  /** An error that QEMU answered with. */
  static final class QmpException extends RuntimeException {
    private static final long serialVersionUID = 1;

    QmpException(String command, String description) {
      super(command + ": " + description);
    }
  }

  private final Path path;
  private final SocketChannel channel;
  private final BlockingQueue<JsonNode> answers = new LinkedBlockingQueue<>();
  private final List<Event> events = new ArrayList<>();
  private boolean closed;

  private QmpProbe(Path path, SocketChannel channel) {
    this.path = path;
    this.channel = channel;
  }

  static QmpProbe connect(Path path) throws IOException {
    SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX);
    try {
      channel.connect(UnixDomainSocketAddress.of(path));
    } catch (IOException e) {
      channel.close();
      throw e;
    }
    QmpProbe probe = new QmpProbe(path, channel);
    Thread.ofPlatform().daemon().name("qmp " + path.getFileName()).start(probe::read);
    probe.execute("qmp_capabilities");
    return probe;
  }

  private void read() {
    try (BufferedReader lines = new BufferedReader(Channels.newReader(channel, UTF_8))) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        JsonNode message = JSON.readTree(line);
        if (message.has("event")) {
          JsonNode time = message.path("timestamp");
          Instant qemuTime =
              Instant.ofEpochSecond(
                  time.path("seconds").asLong(), time.path("microseconds").asLong() * 1000);
          synchronized (events) {
            events.add(
                new Event(
                    message.path("event").asString(),
                    message.path("data"),
                    qemuTime,
                    System.nanoTime()));
            events.notifyAll();
          }
        } else if (message.has("return") || message.has("error")) {
          answers.add(message);
        }
      }
    } catch (IOException e) {
      // QEMU is gone, or this was closed; those who wait are told below.
    }
    synchronized (events) {
      closed = true;
      events.notifyAll();
    }
    answers.add(JSON.createObjectNode().put("closed", true));
  }

  /** Gives a command with arguments as name, value, name, value; returns what QEMU returned. */
  JsonNode execute(String command, Object... namesAndValues) {
    ObjectNode arguments = JSON.createObjectNode();
    for (int i = 0; i < namesAndValues.length; i += 2) {
      arguments.set((String) namesAndValues[i], JSON.valueToTree(namesAndValues[i + 1]));
    }
    return executeWith(command, arguments);
  }

  synchronized JsonNode executeWith(String command, ObjectNode arguments) {
    ObjectNode message = JSON.createObjectNode().put("execute", command);
    message.set("arguments", arguments);
    try {
      ByteBuffer bytes = ByteBuffer.wrap((JSON.writeValueAsString(message) + "\n").getBytes(UTF_8));
      while (bytes.hasRemaining()) {
        channel.write(bytes);
      }
      JsonNode answer = answers.poll(ANSWER_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
      if (answer == null) {
        throw new QmpException(
            command, "no answer within " + ANSWER_TIMEOUT.toSeconds() + " s on " + path);
      }
      if (answer.has("error")) {
        throw new QmpException(command, answer.path("error").path("desc").asString());
      }
      if (answer.has("closed")) {
        throw new QmpException(command, "QEMU closed " + path);
      }
      return answer.path("return");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
    }
  }

  /** Switches migration capabilities on: {@code setCapabilities("x-ignore-shared", "events")}. */
  void setCapabilities(String... names) {
    execute(
        "migrate-set-capabilities",
        "capabilities",
        Arrays.stream(names)
            .map(name -> JSON.createObjectNode().put("capability", name).put("state", true))
            .toList());
  }

  /** How QEMU itself would migrate this guest; two of these can be compared. */
  record MigrationSettings(JsonNode capabilities, JsonNode parameters, JsonNode undescribed) {

    /** The capabilities that are on. */
    List<String> on() {
      return capabilities
          .valueStream()
          .filter(capability -> capability.path("state").asBoolean())
          .map(capability -> capability.path("capability").asString())
          .toList();
    }
  }

  MigrationSettings migrationSettings() {
    return new MigrationSettings(
        execute("query-migrate-capabilities"),
        execute("query-migrate-parameters"),
        execute("qom-get", "path", "/machine", "property", "suppress-vmdesc"));
  }

  /**
   * The guest's state: {@code running}, {@code paused}, {@code inmigrate}, {@code postmigrate}...
   */
  String status() {
    return execute("query-status").path("status").asString();
  }

  /** The state of QEMU's own migration, or empty before there was one. */
  String migrationStatus() {
    return execute("query-migrate").path("status").asString("");
  }

  /** Waits until QEMU's own migration has completed; fails when it failed. */
  void awaitMigrated(Duration timeout) {
    long deadline = System.nanoTime() + timeout.toNanos();
    for (; ; ) {
      String status = migrationStatus();
      if (status.equals("completed")) {
        return;
      }
      if (status.equals("failed") || status.equals("cancelled")) {
        throw new AssertionError("QEMU's migration ended as " + execute("query-migrate"));
      }
      if (System.nanoTime() > deadline) {
        throw new AssertionError("QEMU's migration is not over: " + execute("query-migrate"));
      }
      sleep(Duration.ofMillis(20));
    }
  }

  /** Waits until the guest has this state. */
  void awaitStatus(String status, Duration timeout) {
    long deadline = System.nanoTime() + timeout.toNanos();
    for (String now = status(); !now.equals(status); now = status()) {
      if (System.nanoTime() > deadline) {
        throw new AssertionError("the guest is not '" + status + "' but '" + now + "'");
      }
      sleep(Duration.ofMillis(5));
    }
  }

  /** All events so far. */
  List<Event> events() {
    synchronized (events) {
      return List.copyOf(events);
    }
  }

  /** How many events of this name there were so far. */
  int count(String name) {
    return (int) events().stream().filter(event -> event.name().equals(name)).count();
  }

  /** The last event of this name, waiting for the first one. */
  Event awaitEvent(String name, Duration timeout) {
    return awaitEvent(name, 0, timeout);
  }

  /** The last event of this name, waiting until there are more than {@code before}. */
  Event awaitEvent(String name, int before, Duration timeout) {
    long deadline = System.nanoTime() + timeout.toNanos();
    synchronized (events) {
      for (; ; ) {
        Event event = last(name);
        if (event != null && count(name) > before) {
          return event;
        }
        long leftMs = (deadline - System.nanoTime()) / 1_000_000;
        if (closed || leftMs <= 0) {
          throw new AssertionError(
              "no event " + name + (closed ? " before QEMU closed " : " on ") + path);
        }
        try {
          events.wait(leftMs);
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
          throw new IllegalStateException(e);
        }
      }
    }
  }

  private @Nullable Event last(String name) {
    for (int i = events.size() - 1; i >= 0; i--) {
      if (events.get(i).name().equals(name)) {
        return events.get(i);
      }
    }
    return null;
  }

  /**
   * From the last STOP of the source's guest to the last RESUME of the destination's, by QEMU's own
   * time stamps.
   */
  static Duration downtime(QmpProbe source, QmpProbe destination) {
    Instant stopped = source.awaitEvent("STOP", Duration.ofSeconds(5)).qemuTime();
    return Duration.between(
        stopped, destination.awaitEvent("RESUME", Duration.ofSeconds(5)).qemuTime());
  }

  static void sleep(Duration duration) {
    try {
      Thread.sleep(duration);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
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
