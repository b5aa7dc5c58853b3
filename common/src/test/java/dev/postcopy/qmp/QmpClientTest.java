package dev.postcopy.qmp;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.Refusal;
import dev.postcopy.qmp.ScriptedMonitor.Peer;
import dev.postcopy.qmp.ScriptedMonitor.Script;
import dev.postcopy.transport.EventLoops;
import io.netty.channel.IoEventLoopGroup;
import io.netty.util.ResourceLeakDetector;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What the client makes of a peer that is not QEMU, or that breaks off. How QEMU itself behaves is
 * for the integration tests to find out. The time limit only turns a hang into a failure.
 */
@Timeout(60)
class QmpClientTest {

  private static final String CHUNK = "x".repeat(1 << 16);

  /** Far above what the client may hold and the sockets buffer, far below what would hurt. */
  private static final long ENOUGH_BYTES = 256L << 20;

  private static final IoEventLoopGroup LOOP = EventLoops.named("qmp-test", 1);

  @TempDir private Path directory = Path.of("");

  private static ResourceLeakDetector.Level levelBefore = ResourceLeakDetector.getLevel();

  /** The decoder looks at every byte, and the paranoid level would keep a stack trace for each. */
  @BeforeAll
  static void lookForLeaksLessOften() {
    levelBefore = ResourceLeakDetector.getLevel();
    ResourceLeakDetector.setLevel(ResourceLeakDetector.Level.SIMPLE);
  }

  @AfterAll
  static void stopLoop() {
    ResourceLeakDetector.setLevel(levelBefore);
    EventLoops.shutDown(LOOP);
  }

  @Test
  void refusesWhereNothingIs() {
    Path socket = directory.resolve("nothing");

    assertThatExceptionOfType(Refusal.class)
        .isThrownBy(() -> QmpClient.connect(LOOP, socket))
        .withMessageContaining("cannot connect to the QMP socket " + socket)
        .withMessageContaining("-qmp unix:" + socket);
  }

  @Test
  void saysThatThereIsNoSuchSocket() {
    assertThatExceptionOfType(Refusal.class)
        .isThrownBy(() -> QmpClient.connect(LOOP, directory.resolve("nothing")))
        .withMessageContaining("No such file or directory");
  }

  @Test
  void refusesASocketThatNobodyListensAtAnyMore() throws Exception {
    Path socket = directory.resolve("left-over");
    ServerSocketChannel.open(StandardProtocolFamily.UNIX)
        .bind(UnixDomainSocketAddress.of(socket))
        .close();

    assertThatExceptionOfType(Refusal.class)
        .isThrownBy(() -> QmpClient.connect(LOOP, socket))
        .withMessageContaining("Connection refused");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "\0\0\0\0\0\0\0\0",
        "{\"QMP\": nonsense}",
        "{\"QMP\": {}\u0001}",
        "}{",
        "{'QMP': {}}"
      })
  void refusesWhatIsNotQmp(String greeting) throws Exception {
    assertRefused(
        peer -> {
          peer.send(greeting);
          peer.awaitClientGone();
        },
        "does not speak QMP");
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "{", "{\"QMP\": {\"version\"", ScriptedMonitor.GREETING})
  void refusesAPeerThatBreaksOffBeforeItAnsweredAnything(String sent) throws Exception {
    assertRefused(peer -> peer.send(sent), "does not speak QMP");
  }

  @Test
  void refusesAPeerThatNeverGreets() throws Exception {
    assertRefused(Peer::awaitClientGone, "no QMP greeting from");
  }

  @Test
  void refusesAPeerWhoseGreetingNeverComesAmongOtherMessages() throws Exception {
    assertRefused(
        peer -> {
          peer.send("[] [1, {}] {} {\"return\": 1} {\"id\": \"x\"} {\"event\": \"E\"}\n");
          peer.awaitClientGone();
        },
        "no QMP greeting from");
  }

  @Test
  void refusesAGreetingWithoutEndAndDoesNotKeepIt() throws Exception {
    AtomicLong taken = new AtomicLong();
    assertRefused(
        peer -> {
          peer.send("{\"QMP\": \"");
          sendWithoutEnd(peer, CHUNK, taken);
        },
        "does not speak QMP");
    assertThat(taken).as("bytes taken before it was given up").hasValueLessThan(ENOUGH_BYTES);
  }

  @Test
  void refusesAGreetingNestedWithoutReason() throws Exception {
    assertRefused(
        peer -> {
          peer.send("{\"QMP\":" + "[".repeat(200_000) + "]".repeat(200_000) + "}");
          peer.awaitClientGone();
        },
        "does not speak QMP");
  }

  @Test
  void refusesAPeerThatDeniesCapabilities() throws Exception {
    assertRefused(
        peer -> {
          peer.send(ScriptedMonitor.GREETING);
          peer.send(
              "{\"error\":{\"desc\":\"no\"},\"id\":%s}\n".formatted(Peer.id(peer.awaitCommand())));
          peer.awaitClientGone();
        },
        "does not speak QMP");
  }

  @Test
  void givesAnAnswerToItsOwnQuestionOnly() throws Exception {
    Script script =
        peer -> {
          peer.greet();
          String first = peer.awaitCommand();
          String second = peer.awaitCommand();
          peer.send("{\"return\":\"nobody asked\",\"id\":99999}\n{\"return\":\"no id\"}\n");
          peer.answer(second, "\"second\"");
          peer.answer(first, "\"first\"");
          peer.awaitClientGone();
        };
    withClient(
        script,
        client -> {
          var first = client.send("a", Map.of());
          var second = client.send("b", Map.of());

          assertThat(first.get(30, TimeUnit.SECONDS).asString()).isEqualTo("first");
          assertThat(second.get(30, TimeUnit.SECONDS).asString()).isEqualTo("second");
        });
  }

  @Test
  void passesOnWhatTheErrorOfACommandSays() throws Exception {
    Script script =
        peer -> {
          peer.greet();
          String command = peer.awaitCommand();
          peer.send(
              "{\"error\":{\"class\":\"GenericError\",\"desc\":\"not now\"},\"id\":%s}\n"
                  .formatted(Peer.id(command)));
          peer.awaitClientGone();
        };
    withClient(
        script,
        client ->
            assertThatExceptionOfType(QmpException.class)
                .isThrownBy(() -> client.execute("cont"))
                .withMessage("cont: not now"));
  }

  @Test
  void makesOneShortLineOfAnErrorThatWouldWriteToTheTerminal() throws Exception {
    Script script =
        peer -> {
          peer.greet();
          peer.send(
              "{\"error\":{\"desc\":\"a\\u001b[2J\\nb%s\"},\"id\":%s}\n"
                  .formatted("x".repeat(5000), Peer.id(peer.awaitCommand())));
          peer.awaitClientGone();
        };
    withClient(
        script,
        client ->
            assertThatExceptionOfType(QmpException.class)
                .isThrownBy(() -> client.execute("cont"))
                .withMessageStartingWith("cont: a [2J bxxx")
                .satisfies(e -> assertThat(e.getMessage()).hasSizeLessThan(1100)));
  }

  @Test
  void failsACommandThatIsNotAnsweredInTimeThoughOtherThingsAreSaid() throws Exception {
    Script script =
        peer -> {
          peer.greet();
          String command = peer.awaitCommand();
          peer.send("{\"return\":{},\"id\":99}{\"return\":{},\"id\":-1}{\"return\":{},\"id\":{}}");
          peer.send("{\"event\":{},\"id\":%s}[{}]   {\"ret".formatted(Peer.id(command)));
          peer.awaitClientGone();
        };
    withClient(
        script,
        client ->
            assertThatExceptionOfType(QmpException.class)
                .isThrownBy(() -> client.execute("cont", Map.of(), Duration.ofMillis(300)))
                .withMessage("cont: no answer within 300 ms"));
  }

  @Test
  void failsACommandWhosePeerBreaksOff() throws Exception {
    Script script =
        peer -> {
          peer.greet();
          peer.awaitCommand();
          peer.send("{\"return\":{\"half");
        };
    withClient(
        script,
        client -> {
          assertGone(client);
          client.closed().get(30, TimeUnit.SECONDS);
          assertGone(client);
        });
  }

  @ParameterizedTest
  @ValueSource(strings = {"garbage", "}", "{]", "{\"return\": tru}"})
  void failsACommandThatIsAnsweredWithGarbage(String garbage) throws Exception {
    Script script =
        peer -> {
          peer.greet();
          peer.awaitCommand();
          peer.send(garbage);
          peer.awaitClientGone();
        };
    withClient(script, client -> assertFails(client, "QEMU's monitor sent what is not QMP"));
  }

  @Test
  void failsACommandWhoseAnswerIsNestedWithoutReason() throws Exception {
    String nested = "[".repeat(200_000) + "]".repeat(200_000);
    Script script =
        peer -> {
          peer.greet();
          peer.answer(peer.awaitCommand(), nested);
          peer.awaitClientGone();
        };
    withClient(script, client -> assertFails(client, "QEMU's monitor sent what is not QMP"));
  }

  @Test
  void failsACommandWhoseAnswerHasNoEndAndDoesNotKeepIt() throws Exception {
    AtomicLong taken = new AtomicLong();
    Script script =
        peer -> {
          peer.greet();
          peer.awaitCommand();
          peer.send("{\"return\":\"");
          sendWithoutEnd(peer, CHUNK, taken);
        };
    withClient(
        script,
        client -> assertFails(client, "QEMU's monitor sent more than 1048576 bytes at once"));
    assertThat(taken).as("bytes taken before it was given up").hasValueLessThan(ENOUGH_BYTES);
  }

  @Test
  void takesALargeAnswerWithinTheBound() throws Exception {
    String large = "y".repeat(1_000_000);
    Script script =
        peer -> {
          peer.greet();
          peer.answer(peer.awaitCommand(), "\"" + large + "\"");
          peer.awaitClientGone();
        };
    withClient(
        script, client -> assertThat(client.execute("qom-list").asString()).isEqualTo(large));
  }

  @Test
  void deliversEventsInOrderAlsoBetweenAnswers() throws Exception {
    Script script =
        peer -> {
          peer.greet();
          String command = peer.awaitCommand();
          peer.send(
              "{\"event\":\"STOP\"}{\"event\":\"MIGRATION\",\"data\":{\"status\":\"active\"}}");
          peer.answer(command, "{}");
          peer.send("{\"event\":\"MIGRATION\",\"data\":{\"status\":\"completed\"}}");
          peer.awaitClientGone();
        };
    withClient(
        script,
        client -> {
          BlockingQueue<String> events = new LinkedBlockingQueue<>();
          client.reportTo(events, event -> event.name() + " " + event.migrationStatus());
          client.execute("stop");
          for (String expected : List.of("STOP ", "MIGRATION active", "MIGRATION completed")) {
            assertThat(events.poll(30, TimeUnit.SECONDS)).isEqualTo(expected);
          }
        });
  }

  @Test
  void aPretendedEventIsHeardInTheMiddleOfAnAnswer() throws Exception {
    BlockingQueue<String> events = new LinkedBlockingQueue<>();
    Script script =
        peer -> {
          peer.greet();
          peer.answer(peer.awaitCommand(), "{}");
          peer.send("{\"event\":\"STOP\"}{\"event\":\"MIGRATION\",\"data\":{\"sta");
          peer.awaitCommand();
          peer.send("tus\":\"active\"}}");
          peer.awaitClientGone();
        };
    withClient(
        script,
        client -> {
          client.reportTo(events, event -> event.name() + " " + event.migrationStatus());
          client.execute("query-status");
          assertThat(events.poll(30, TimeUnit.SECONDS)).isEqualTo("STOP ");
          new Qemu(client).pretendEvent();
          assertThat(events.poll(30, TimeUnit.SECONDS))
              .as("heard while half of another event has arrived")
              .isEqualTo("MIGRATION rehearsal");
          var _ = client.send("query-status", Map.of());
          assertThat(events.poll(30, TimeUnit.SECONDS))
              .as("what QEMU said itself, in two halves")
              .isEqualTo("MIGRATION active");
        });
  }

  /** What it says meanwhile would wait for a session that is busy, and grow without end. */
  @Test
  void aQemuThatChattersFillsNoMemory() throws Exception {
    int events = 5000;
    Script script =
        peer -> {
          peer.greet();
          String command = peer.awaitCommand();
          for (int i = 0; i < events; i++) {
            peer.send("{\"event\":\"RTC_CHANGE\",\"data\":{\"offset\":1}}");
            peer.send("{\"event\":\"STOP\",\"data\":{\"x\":\"%s\"}}".formatted("x".repeat(1000)));
          }
          peer.answer(command, "{}");
          peer.awaitClientGone();
        };
    withClient(
        script,
        client -> {
          BlockingQueue<QmpEvent> waiting = new LinkedBlockingQueue<>();
          client.reportTo(waiting, event -> event);
          client.execute("stop");
          assertThat(waiting).as("events that wait").hasSize(256);
          assertThat(waiting).extracting(QmpEvent::name).containsOnly("STOP");
        });
  }

  @ParameterizedTest
  @CsvSource({
    "-4096, QEMU says that guest RAM m0 has -4096 bytes",
    "0, QEMU says that guest RAM m0 has 0 bytes",
    "4097, QEMU says that guest RAM m0 has 4097 bytes",
    "9223372036854771712, too much",
    "8796093022208, too much",
    "99999999999999999999, query-memdev: an answer of the wrong types"
  })
  void namesASizeOfGuestRamThatCannotBe(String byteLength, String words) throws Exception {
    Script script =
        peer -> {
          peer.greet();
          peer.answer(
              peer.awaitCommand(),
              "[{\"id\":\"m0\",\"size\":%s,\"share\":true,\"prealloc\":false}]"
                  .formatted(byteLength));
          peer.awaitClientGone();
        };
    withClient(
        script,
        client ->
            assertThatThrownBy(() -> new Qemu(client).backends())
                .isInstanceOfAny(Refusal.class, QmpException.class)
                .hasMessageContaining(words));
  }

  /** Pages are numbered by it, and QEMU lists them as its hash table has them. */
  @Test
  void theOrderOfMemoryBackendsIsThatOfTheirIds() throws Exception {
    String backend = "{\"id\":\"%s\",\"size\":4096,\"share\":true,\"prealloc\":false}";
    List<String> listed = List.of("ram2", "ram0", "ram10", "ram1");
    Script script =
        peer -> {
          peer.greet();
          peer.answer(
              peer.awaitCommand(), listed.stream().map(backend::formatted).toList().toString());
          for (String _ : listed) {
            peer.answer(peer.awaitCommand(), "\"memory-backend-ram\"");
          }
          peer.awaitClientGone();
        };
    withClient(
        script,
        client ->
            assertThat(new Qemu(client).backends())
                .extracting(MemoryBackend::id)
                .containsExactly("ram0", "ram1", "ram10", "ram2"));
  }

  @FunctionalInterface
  private interface WithClient {
    void accept(QmpClient client) throws Exception;
  }

  private void withClient(Script script, WithClient test) throws Exception {
    try (ScriptedMonitor _ = listen(script)) {
      try (QmpClient client = connect()) {
        test.accept(client);
      }
    }
  }

  private void assertRefused(Script script, String reason) throws Exception {
    try (ScriptedMonitor _ = listen(script)) {
      assertThatExceptionOfType(Refusal.class)
          .isThrownBy(this::connect)
          .withMessageContaining(reason);
    }
  }

  private static void assertGone(QmpClient client) {
    assertFails(client, "QEMU is gone");
  }

  private static void assertFails(QmpClient client, String reason) {
    assertThatExceptionOfType(QmpException.class)
        .isThrownBy(() -> client.execute("query-status"))
        .withMessage("query-status: " + reason);
  }

  private static void sendWithoutEnd(Peer peer, String chunk, AtomicLong taken) throws IOException {
    while (taken.get() < ENOUGH_BYTES) {
      peer.send(chunk);
      taken.addAndGet(chunk.length());
    }
  }

  private ScriptedMonitor listen(Script script) throws Exception {
    return new ScriptedMonitor(directory.resolve("qmp"), script);
  }

  private QmpClient connect() {
    return QmpClient.connect(LOOP, directory.resolve("qmp"));
  }
}
