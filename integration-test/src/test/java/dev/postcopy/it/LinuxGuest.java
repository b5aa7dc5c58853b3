package dev.postcopy.it;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Talks to the Linux guest's program (scripts/guest/init.c) over the serial port. After a migration
 * the guest is talked to through a new one, of the destination.
 */
final class LinuxGuest {

  static final Duration BOOT_TIMEOUT = Duration.ofSeconds(90);
  private static final Duration ANSWER_TIMEOUT = Duration.ofSeconds(60);
  private static final Pattern HEARTBEAT =
      Pattern.compile("HB (\\d+) (\\d+) ops=(\\d+) errors=(\\d+)(?: disk_ops=(\\d+))?");

  /**
   * A sign of life, every 100 ms of the guest's time.
   *
   * @param sequence goes on over a migration
   * @param guestMs the guest's clock, which stands still while the guest is stopped
   * @param ops visits to pages since boot
   * @param errors wrong pages and disk blocks seen since boot
   * @param diskOps written disk blocks since boot
   * @param arrivedNs {@link System#nanoTime}
   */
  record Heartbeat(
      long sequence, long guestMs, long ops, long errors, long diskOps, long arrivedNs) {}

  /** The guest's answer to {@code verify}. */
  record Verification(
      boolean ok, long pages, long zeroPages, long errors, long workerErrors, String text) {}

  /** A step of the histogram of access times. */
  record Bucket(double fromUs, double toUs, long count) {}

  /**
   * Times of accesses to pages, as the guest saw them.
   *
   * @param stalls accesses that took longer than the median and pc.stall_us together
   * @param stalledUs what they took longer than the median, in sum
   */
  record AccessTimes(
      long count,
      double p50Us,
      double p90Us,
      double p99Us,
      double p999Us,
      double maxUs,
      long stalls,
      double stalledUs,
      List<Bucket> buckets) {}

  private final SerialPort serial;

  private LinuxGuest(SerialPort serial) {
    this.serial = serial;
  }

  static LinuxGuest on(QemuProcess qemu) {
    return new LinuxGuest(qemu.serial());
  }

  /** Waits until the guest has booted and filled its memory; returns how many pages it checks. */
  long awaitReady() {
    String line =
        serial
            .await(
                0,
                text -> text.startsWith("READY ") || text.startsWith("FAILED"),
                "READY",
                BOOT_TIMEOUT)
            .text();
    if (line.startsWith("FAILED")) {
      throw new AssertionError("the guest: " + line);
    }
    return number(values(line), "pages");
  }

  /** The next heartbeat from now on. */
  Heartbeat awaitHeartbeat(Duration timeout) {
    SerialPort.Line line =
        serial.await(
            serial.position(), text -> HEARTBEAT.matcher(text).matches(), "a heartbeat", timeout);
    Heartbeat heartbeat = heartbeat(line);
    if (heartbeat == null) {
      throw new AssertionError(line);
    }
    return heartbeat;
  }

  /** Waits for a heartbeat with more work done; the next one may follow closely on a busy host. */
  void awaitWork(Heartbeat since, Duration timeout) {
    long deadlineNanos = System.nanoTime() + timeout.toNanos();
    Heartbeat last = awaitHeartbeat(timeout);
    while (last.ops() <= since.ops() && System.nanoTime() < deadlineNanos) {
      last = awaitHeartbeat(timeout);
    }
    if (last.ops() <= since.ops()) {
      throw new AssertionError("the guest beats and does no work: " + last);
    }
  }

  /** All heartbeats that arrived on this side. */
  List<Heartbeat> heartbeats() {
    List<Heartbeat> heartbeats = new ArrayList<>();
    for (SerialPort.Line line : serial.linesFrom(0)) {
      Heartbeat heartbeat = heartbeat(line);
      if (heartbeat != null) {
        heartbeats.add(heartbeat);
      }
    }
    return heartbeats;
  }

  private static @Nullable Heartbeat heartbeat(SerialPort.Line line) {
    Matcher matcher = HEARTBEAT.matcher(line.text());
    if (!matcher.matches()) {
      return null;
    }
    String diskOps = matcher.group(5);
    return new Heartbeat(
        Long.parseLong(matcher.group(1)),
        Long.parseLong(matcher.group(2)),
        Long.parseLong(matcher.group(3)),
        Long.parseLong(matcher.group(4)),
        diskOps == null ? 0 : Long.parseLong(diskOps),
        line.arrivedNs());
  }

  /** Visits per second of the host's time, over this long from now. */
  double opsPerSecond(Duration over) {
    Heartbeat first = awaitHeartbeat(ANSWER_TIMEOUT);
    QmpProbe.sleep(over);
    Heartbeat last = awaitHeartbeat(ANSWER_TIMEOUT);
    return (last.ops() - first.ops()) * 1e9 / (last.arrivedNs() - first.arrivedNs());
  }

  /** What the guest said about wrong pages, on this side. */
  List<String> corruptions() {
    return serial.linesFrom(0).stream()
        .map(SerialPort.Line::text)
        .filter(text -> text.startsWith("CORRUPT"))
        .toList();
  }

  /** Lets the guest check every page in full. */
  Verification verify() {
    String answer = ask("verify", "VERIFY ");
    Map<String, String> values = values(answer);
    return new Verification(
        answer.startsWith("VERIFY ok"),
        number(values, "pages"),
        number(values, "zero_pages"),
        number(values, "errors"),
        number(values, "worker_errors"),
        answer + corruptions());
  }

  /** Times of accesses since the last {@link #resetAccessTimes}. */
  AccessTimes accessTimes() {
    int position = serial.position();
    Map<String, String> values = values(ask("hist", "HIST "));
    List<Bucket> buckets = new ArrayList<>();
    for (SerialPort.Line line : serial.linesFrom(position)) {
      String[] words = line.text().split(" ", -1);
      if (words[0].equals("BUCKET") && words.length == 4) {
        buckets.add(
            new Bucket(
                Double.parseDouble(words[1]),
                Double.parseDouble(words[2]),
                Long.parseLong(words[3])));
      }
    }
    return new AccessTimes(
        number(values, "count"),
        decimal(values, "p50_us"),
        decimal(values, "p90_us"),
        decimal(values, "p99_us"),
        decimal(values, "p999_us"),
        decimal(values, "max_us"),
        number(values, "stalls"),
        decimal(values, "stalled_us"),
        buckets);
  }

  void resetAccessTimes() {
    ask("reset", "RESET");
  }

  /** Stops the guest's work, not the guest. */
  void pauseWork() {
    ask("pause", "PAUSED ");
  }

  void resumeWork() {
    ask("go", "GOING");
  }

  void powerOff() {
    serial.write("quit\n");
  }

  private String ask(String command, String answer) {
    int position = serial.position();
    serial.write(command + "\n");
    return serial
        .await(
            position,
            text -> text.startsWith(answer),
            "'" + answer + "' to '" + command + "'",
            ANSWER_TIMEOUT)
        .text();
  }

  private static Map<String, String> values(String line) {
    Map<String, String> values = new HashMap<>();
    for (String word : line.split(" ", -1)) {
      int equals = word.indexOf('=');
      if (equals > 0) {
        values.put(word.substring(0, equals), word.substring(equals + 1));
      }
    }
    return values;
  }

  private static long number(Map<String, String> values, String key) {
    return Long.parseLong(values.getOrDefault(key, "-1"));
  }

  private static double decimal(Map<String, String> values, String key) {
    return Double.parseDouble(values.getOrDefault(key, "NaN"));
  }
}
