package dev.postcopy.logging;

import static java.nio.charset.StandardCharsets.UTF_8;

import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.AppenderBase;
import io.netty.channel.epoll.Epoll;
import io.netty.channel.unix.Socket;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.slf4j.LoggerFactory;

/**
 * Writes the log to systemd's journal, with priorities and fields by which it can be searched; on
 * the thread that logs, so that the last line before an end is there too. What the journal does not
 * take is dropped: a log is not worth a guest that waits.
 */
public final class JournalAppender extends AppenderBase<ILoggingEvent> {

  private static final Path STANDARD_ERROR = Path.of("/proc/self/fd/2");

  private final String identifier;
  private final byte[] address;
  private final Socket socket;

  /**
   * @param identifier what the journal shows before each line
   * @param address of the journal's socket
   * @param context that of the loggers
   */
  JournalAppender(String identifier, Path address, ch.qos.logback.core.Context context) {
    this.identifier = identifier;
    this.address = address.toString().getBytes(UTF_8);
    // Its native methods come with those of epoll.
    Epoll.ensureAvailability();
    this.socket = Socket.newSocketDomainDgram();
    setName("journal");
    setContext(context);
  }

  /**
   * Takes the place of the other appenders, where standard error is a stream of the journal,
   * systemd.exec(5).
   *
   * @param environment JOURNAL_STREAM is looked at
   */
  public static void useWhereStandardErrorIsTheJournals(
      String identifier, Map<String, String> environment) {
    if (isStandardErrorTheJournals(environment)) {
      use(identifier, Path.of("/run/systemd/journal/socket"));
    }
  }

  /**
   * Whether what is written to standard error goes to the journal, systemd.exec(5).
   *
   * @param environment JOURNAL_STREAM is looked at
   */
  public static boolean isStandardErrorTheJournals(Map<String, String> environment) {
    return environment.getOrDefault("JOURNAL_STREAM", "-").equals(standardError());
  }

  static void use(String identifier, Path address) {
    Logger root = (Logger) LoggerFactory.getLogger(org.slf4j.Logger.ROOT_LOGGER_NAME);
    JournalAppender appender = new JournalAppender(identifier, address, root.getLoggerContext());
    appender.start();
    root.detachAndStopAllAppenders();
    root.addAppender(appender);
  }

  /** DEVICE:INODE, as JOURNAL_STREAM has it. */
  private static String standardError() {
    try {
      return Files.getAttribute(STANDARD_ERROR, "unix:dev")
          + ":"
          + Files.getAttribute(STANDARD_ERROR, "unix:ino");
    } catch (IOException e) {
      return "";
    }
  }

  @Override
  protected void append(ILoggingEvent event) {
    byte[] entry = JournalEntry.of(identifier, event);
    try {
      ByteBuffer direct = ByteBuffer.allocateDirect(entry.length).put(entry);
      int _ = socket.sendToDomainSocket(direct, 0, entry.length, address);
    } catch (IOException e) {
      addError("the journal does not take an entry", e);
    }
  }

  @Override
  public void stop() {
    super.stop();
    try {
      socket.close();
    } catch (IOException e) {
      addError("the socket to the journal", e);
    }
  }
}
