package dev.postcopy.logging;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.LoggerContext;
import dev.postcopy.transport.EventLoops;
import io.netty.channel.IoEventLoopGroup;
import io.netty.channel.epoll.Epoll;
import io.netty.channel.unix.DomainSocketAddress;
import io.netty.channel.unix.Socket;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.Logger;

/** A journal of the test's own reads what the appender sends. */
class JournalAppenderTest {

  @TempDir private Path folder = Path.of("");

  private final LoggerContext context = new LoggerContext();
  private Socket journal = socket();

  private static Socket socket() {
    Epoll.ensureAvailability();
    return Socket.newSocketDomainDgram();
  }

  @BeforeEach
  void aJournal() throws IOException {
    Path address = folder.resolve("socket");
    journal.bind(new DomainSocketAddress(address.toString()));
    JournalAppender appender = new JournalAppender("an-agent", address, context);
    appender.start();
    ch.qos.logback.classic.Logger root = context.getLogger(Logger.ROOT_LOGGER_NAME);
    root.setLevel(Level.DEBUG);
    root.addAppender(appender);
  }

  @AfterEach
  void end() throws IOException {
    context.stop();
    journal.close();
  }

  @Test
  void aLineHasItsPriorityAndWhoSaysIt() throws IOException {
    log().warn("the link to {} is lost", "host:7000");

    assertThat(received())
        .containsEntry("MESSAGE", "the link to host:7000 is lost")
        .containsEntry("PRIORITY", "4")
        .containsEntry("SYSLOG_IDENTIFIER", "an-agent")
        .containsEntry("LOGGER", "JournalAppenderTest")
        .containsEntry("THREAD", Thread.currentThread().getName());
  }

  @Test
  void eachLevelHasItsPriority() throws IOException {
    log().error("a");
    assertThat(received()).containsEntry("PRIORITY", "3");
    log().info("a");
    assertThat(received()).containsEntry("PRIORITY", "6");
    log().debug("a");
    assertThat(received()).containsEntry("PRIORITY", "7");
  }

  @Test
  void aMigrationIsFoundByItsMachineItsPeerAndItsPhase() throws IOException {
    LogFields.during(
        "vm1",
        "host:7000",
        "PREPARING",
        () -> {
          LogFields.enter("SWITCHING_OVER");
          log().info("the guest stands still");
        });

    assertThat(received())
        .containsEntry("VM", "vm1")
        .containsEntry("PEER", "host:7000")
        .containsEntry("PHASE", "switching_over");
    log().info("of no migration");
    assertThat(received()).doesNotContainKeys("VM", "PEER", "PHASE");
  }

  @Test
  void anEventLoopThatAMigrationStartsLogsAboutItInItsLaterPhasesToo() throws Exception {
    IoEventLoopGroup loops = EventLoops.named("demand", 1);
    try {
      LogFields.during(
          "vm1",
          "host:7000",
          "PREPARING",
          () -> {
            loops.submit(() -> log().info("connected")).syncUninterruptibly();
            LogFields.enter("DRAINING");
          });
      assertThat(received()).containsEntry("VM", "vm1").containsEntry("PHASE", "preparing");

      loops.submit(() -> log().info("the link is lost")).syncUninterruptibly();
      assertThat(received()).containsEntry("VM", "vm1").containsEntry("PHASE", "draining");
    } finally {
      EventLoops.shutDown(loops);
    }
  }

  @Test
  void aLineEndInAMessageDoesNotMakeAnotherField() throws IOException {
    log().info("first\nPRIORITY=0");

    assertThat(received())
        .containsEntry("MESSAGE", "first\nPRIORITY=0")
        .containsEntry("PRIORITY", "6");
  }

  @Test
  void whatWasThrownIsNamedInTheMessageAndIsThereInFull() throws IOException {
    log().error("unexpected", new IllegalStateException("why"));

    Map<String, String> fields = received();
    assertThat(fields.get("MESSAGE")).isEqualTo("unexpected: java.lang.IllegalStateException: why");
    assertThat(fields.get("STACK_TRACE")).contains("whatWasThrownIsNamed");
  }

  @Test
  void aMessageThatIsTooLongIsCutOff() throws IOException {
    log().info("x".repeat(10 << 20));

    assertThat(received().get("MESSAGE")).hasSize(JournalEntry.MAX_VALUE_BYTES);
  }

  @Test
  void aJournalThatIsGoneIsNoFailure() throws IOException {
    journal.close();

    log().info("nobody hears this");

    assertThat(context.getStatusManager().getCopyOfStatusList())
        .anyMatch(status -> status.getMessage().contains("the journal does not take"));
    journal = socket();
  }

  private Logger log() {
    return context.getLogger(JournalAppenderTest.class);
  }

  /** The fields of one entry, read as systemd's own description has it. */
  private Map<String, String> received() throws IOException {
    ByteBuffer datagram = ByteBuffer.allocateDirect(1 << 20).order(ByteOrder.LITTLE_ENDIAN);
    int length = journal.read(datagram, 0, datagram.capacity());
    assertThat(length).isPositive();
    datagram.limit(length);
    Map<String, String> fields = new LinkedHashMap<>();
    while (datagram.hasRemaining()) {
      StringBuilder key = new StringBuilder();
      byte next = datagram.get();
      for (; next != '=' && next != '\n'; next = datagram.get()) {
        key.append((char) next);
      }
      byte[] value;
      if (next == '=') {
        int end = datagram.position();
        while (datagram.get(end) != '\n') {
          end++;
        }
        value = new byte[end - datagram.position()];
      } else {
        value = new byte[Math.toIntExact(datagram.getLong())];
      }
      datagram.get(value);
      assertThat(datagram.get()).isEqualTo((byte) '\n');
      assertThat(fields.put(key.toString(), new String(value, UTF_8))).as(key.toString()).isNull();
    }
    return fields;
  }
}
