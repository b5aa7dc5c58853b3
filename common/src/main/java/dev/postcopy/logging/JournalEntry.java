package dev.postcopy.logging;

import static java.nio.charset.StandardCharsets.UTF_8;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.classic.spi.IThrowableProxy;
import ch.qos.logback.classic.spi.ThrowableProxyUtil;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * One event of the log as the journal's native protocol has it
 * (systemd.io/JOURNAL_NATIVE_PROTOCOL): fields, each either on a line
 *
 * <pre>
 *   KEY=value\n
 * </pre>
 *
 * or, where the value has line ends,
 *
 * <pre>
 *   KEY\n | length: 64-bit little-endian | value | \n
 * </pre>
 *
 * <p>Beside MESSAGE and PRIORITY there are LOGGER, THREAD, STACK_TRACE where something was thrown,
 * and the {@link LogFields} of the thread, which is the one that logs.
 */
final class JournalEntry {

  /** A datagram that is larger than the socket's buffer would have to go as a file. */
  static final int MAX_VALUE_BYTES = 32 << 10;

  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream(512);

  private JournalEntry() {}

  static byte[] of(String identifier, ILoggingEvent event) {
    JournalEntry entry = new JournalEntry();
    IThrowableProxy thrown = event.getThrowableProxy();
    String message = event.getFormattedMessage();
    entry.add("MESSAGE", thrown == null ? message : message + ": " + summary(thrown));
    entry.add("PRIORITY", Integer.toString(priority(event.getLevel())));
    entry.add("SYSLOG_IDENTIFIER", identifier);
    String logger = event.getLoggerName();
    entry.add("LOGGER", logger.substring(logger.lastIndexOf('.') + 1));
    entry.add("THREAD", event.getThreadName());
    if (thrown != null) {
      entry.add("STACK_TRACE", ThrowableProxyUtil.asString(thrown));
    }
    LogFields.current().forEach(entry::add);
    return entry.bytes.toByteArray();
  }

  private static String summary(IThrowableProxy thrown) {
    return thrown.getClassName() + ": " + thrown.getMessage();
  }

  /** As syslog(3) counts. */
  private static int priority(Level level) {
    return switch (level.toInt()) {
      case Level.ERROR_INT -> 3;
      case Level.WARN_INT -> 4;
      case Level.INFO_INT -> 6;
      default -> 7;
    };
  }

  private void add(String key, String value) {
    byte[] content = value.getBytes(UTF_8);
    int length = Math.min(content.length, MAX_VALUE_BYTES);
    bytes.writeBytes(key.getBytes(UTF_8));
    if (value.indexOf('\n') < 0) {
      bytes.write('=');
    } else {
      bytes.write('\n');
      bytes.writeBytes(
          ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN).putLong(length).array());
    }
    bytes.write(content, 0, length);
    bytes.write('\n');
  }
}
