package dev.postcopy.it;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * An agent that a test started by its script, as an operator would; ended when this is closed. Its
 * output is read all the time, so that it never waits for this JVM.
 */
final class AgentProcess implements AutoCloseable {

  private static final Duration START_TIMEOUT = Duration.ofSeconds(30);
  private static final Duration LONG_TIMEOUT = Duration.ofSeconds(60);
  private static final Pattern LOG_LINE = Pattern.compile("\\d\\d:\\d\\d:\\d\\d\\.\\d{3} ");
  private static final Path STATE = stateFolder();
  private static final String LISTENING = "listening on ";

  /**
   * For a test that holds a frame back until something else is done: on a busy host that takes
   * longer than a peer may usually be silent.
   */
  static final String[] PATIENT = {"--peer-timeout", "60"};

  private final String name;
  private final Process process;
  private final Output stdout;
  private final Output stderr;

  private AgentProcess(String name, Process process) {
    this.name = name;
    this.process = process;
    this.stdout = new Output(process.getInputStream(), name + " stdout");
    this.stderr = new Output(process.getErrorStream(), name + " stderr");
  }

  private static Path stateFolder() {
    try {
      return Files.createTempDirectory(TestEnvironment.FILE_PREFIX + "state-");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** {@code dest-agent receive --json} on a free port of the loop-back address. */
  static AgentProcess receive(QemuProcess qemu, String... more) {
    return receive(qemu.agentQmp(), more);
  }

  static AgentProcess receive(Path qmp, String... more) {
    return receiveAt(qmp, 0, more);
  }

  static AgentProcess receiveAt(Path qmp, int port, String... more) {
    return start(
        List.of(),
        "dest-agent",
        join(
            List.of("receive", "--qmp", qmp.toString(), "--listen", "127.0.0.1:" + port, "--json"),
            withState(more)));
  }

  /** {@code dest-agent resume --json} of the migration to a QEMU. */
  static AgentProcess resumeReceiving(QemuProcess qemu, int port, String... more) {
    return resume("dest-agent", qemu, "--listen", port, more);
  }

  /** {@code source-agent resume --json} of the migration of a QEMU. */
  static AgentProcess resumeMigrating(QemuProcess qemu, int port, String... more) {
    return resume("source-agent", qemu, "--to", port, more);
  }

  private static AgentProcess resume(
      String script, QemuProcess qemu, String option, int port, String... more) {
    List<String> command =
        List.of(
            "resume", "--qmp", qemu.agentQmp().toString(), option, "127.0.0.1:" + port, "--json");
    return start(List.of(), script, join(command, withState(more)));
  }

  /** {@code source-agent cancel} and its kin, said to the migration of a QEMU. */
  static AgentProcess tell(QemuProcess qemu, String... command) {
    return start(
        List.of(),
        "source-agent",
        withState(join(List.of(command), "--qmp", qemu.agentQmp().toString())));
  }

  /** Where the source agent of a QEMU listens for commands: named by the path of its monitor. */
  static Path controlSocket(QemuProcess qemu) {
    return STATE.resolve(
        UUID.nameUUIDFromBytes(qemu.agentQmp().toString().getBytes(UTF_8)) + ".control");
  }

  /** The state folder of all agents of this JVM, where a test does not name another. */
  private static String[] withState(String... more) {
    return List.of(more).contains("--state-dir")
        ? more
        : join(List.of(more), "--state-dir", STATE.toString());
  }

  /** {@code source-agent preflight}. */
  static AgentProcess preflightSource(QemuProcess qemu, String... more) {
    return preflight("source-agent", qemu, withState(more));
  }

  /** {@code dest-agent preflight}. */
  static AgentProcess preflightDestination(QemuProcess qemu, String... more) {
    return preflight("dest-agent", qemu, withState(more));
  }

  private static AgentProcess preflight(String script, QemuProcess qemu, String... more) {
    return start(
        List.of(), script, join(List.of("preflight", "--qmp", qemu.agentQmp().toString()), more));
  }

  /** What the agents of this JVM left to be taken up of migrations from or to a QEMU. */
  static List<String> journals(QemuProcess qemu) {
    return journalFiles(qemu).stream().map(file -> file.getFileName().toString()).toList();
  }

  /** The first line of the one journal that is left of migrations from or to a QEMU. */
  static String firstEntry(QemuProcess qemu) {
    List<Path> files = journalFiles(qemu);
    assertThat(files).as("journals of %s", qemu).hasSize(1);
    return read(files.getFirst()).lines().findFirst().orElseThrow() + "\n";
  }

  /** Waits until a journal of a migration of {@code qemu} has an entry of this {@code form}. */
  static void awaitJournal(QemuProcess qemu, Pattern form, Duration timeout) {
    long deadlineNanos = System.nanoTime() + timeout.toNanos();
    while (journalFiles(qemu).stream().noneMatch(file -> form.matcher(read(file)).find())) {
      if (System.nanoTime() > deadlineNanos) {
        throw new AssertionError("no journal of " + qemu + " has " + form);
      }
      Thread.onSpinWait();
    }
  }

  private static List<Path> journalFiles(QemuProcess qemu) {
    List<Path> found = new ArrayList<>();
    try (DirectoryStream<Path> files = Files.newDirectoryStream(STATE, "*.{source,destination}")) {
      for (Path file : files) {
        if (read(file).contains(qemu.agentQmp().toString())) {
          found.add(file);
        }
      }
      return found;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String read(Path journal) {
    try {
      return Files.readString(journal);
    } catch (NoSuchFileException e) {
      return "";
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /**
   * {@code source-agent migrate --json} to a port of the loop-back address; no memory goes ahead,
   * unless {@code more} says so.
   */
  static AgentProcess migrate(QemuProcess qemu, int port, String... more) {
    return migrate(qemu.agentQmp(), port, more);
  }

  static AgentProcess migrate(Path qmp, int port, String... more) {
    return start(
        List.of(),
        "source-agent",
        join(
            List.of("migrate", "--qmp", qmp.toString(), "--to", "127.0.0.1:" + port, "--json"),
            withState(
                List.of(more).contains("--precopy")
                    ? more
                    : join(List.of("--precopy", "off"), more))));
  }

  private static String[] join(List<String> first, String... more) {
    List<String> all = new ArrayList<>(first);
    all.addAll(List.of(more));
    return all.toArray(String[]::new);
  }

  /**
   * Starts a script of the folder scripts.
   *
   * @param prefix what runs it: setpriv with its options, or nothing
   */
  static AgentProcess start(List<String> prefix, String script, String... arguments) {
    List<String> command = new ArrayList<>(prefix);
    command.add(TestEnvironment.get().root().resolve("scripts").resolve(script).toString());
    command.addAll(List.of(arguments));
    try {
      Process process = new ProcessBuilder(command).start();
      process.getOutputStream().close();
      AgentProcess started = new AgentProcess(script, process);
      Cleanup.register(started);
      return started;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Waits until a destination agent listens; returns the port. */
  int awaitListening() {
    String line = stdout.await(text -> text.startsWith(LISTENING), LISTENING, START_TIMEOUT);
    return Integer.parseInt(line.substring(line.lastIndexOf(':') + 1));
  }

  /** Waits until the agent says something that contains {@code words} on its standard error. */
  void awaitLog(String words) {
    stderr.await(text -> text.contains(words), words, START_TIMEOUT);
  }

  int awaitExit(Duration timeout) {
    if (!exitsWithin(timeout)) {
      throw new AssertionError("does not end within " + timeout + ": " + this);
    }
    stdout.awaitEnd();
    stderr.awaitEnd();
    return process.exitValue();
  }

  /** Ends with this code, and its report's reason has these words. */
  void requireExit(int code, String words) {
    assertThat(awaitExit(LONG_TIMEOUT)).as(toString()).isEqualTo(code);
    assertThat(report().path("reason").asString()).as(toString()).contains(words);
  }

  void requireCompletes() {
    assertThat(awaitExit(LONG_TIMEOUT)).as(toString()).isZero();
    assertThat(report().path("status").asString()).isEqualTo("completed");
  }

  boolean exitsWithin(Duration timeout) {
    try {
      return process.waitFor(timeout.toMillis(), TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
    }
  }

  /** What {@code --json} printed: the last line on standard output. The agent must have ended. */
  JsonNode report() {
    List<String> lines = stdout.lines();
    if (lines.isEmpty()) {
      throw new AssertionError("no report from " + this);
    }
    try {
      return JsonMapper.shared().readTree(lines.getLast());
    } catch (JacksonException e) {
      throw new AssertionError("the last line is not JSON: " + this, e);
    }
  }

  List<String> stdout() {
    return stdout.lines();
  }

  List<String> stderr() {
    return stderr.lines();
  }

  /** What is said to an operator: the lines on standard error that are not of the log. */
  List<String> messages() {
    return stderr.lines().stream().filter(line -> !LOG_LINE.matcher(line).lookingAt()).toList();
  }

  /** As many threads as the agent has now. */
  int threadCount() {
    try (DirectoryStream<Path> tasks =
        Files.newDirectoryStream(Path.of("/proc", Long.toString(pid()), "task"))) {
      int count = 0;
      for (Path _ : tasks) {
        count++;
      }
      return count;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  long pid() {
    return process.pid();
  }

  boolean isAlive() {
    return process.isAlive();
  }

  /** Stops the agent where it is, as a host does that is overloaded; SIGCONT lets it go on. */
  void freeze() {
    Freeze.freeze(process);
  }

  void thaw() {
    Freeze.thaw(process);
  }

  /** Ends the agent as a crash would: SIGKILL to its pid, which the script gave to the JVM. */
  void kill() {
    process.destroyForcibly();
    awaitExit(Duration.ofSeconds(10));
  }

  /** What a terminal sends for Ctrl-C. */
  void interrupt() {
    Freeze.signal("INT", process);
  }

  /** Ends the agent as systemd would, with SIGTERM. */
  void terminate() {
    process.destroy();
  }

  @Override
  public void close() {
    Cleanup.unregister(this);
    kill();
  }

  @Override
  public String toString() {
    return "%s (pid %d, %s)\n  stdout: %s\n  stderr: %s"
        .formatted(
            name,
            process.pid(),
            process.isAlive() ? "running" : "exit code " + process.exitValue(),
            String.join("\n          ", stdout.lines()),
            String.join("\n          ", stderr.lines()));
  }

  /** The lines of one stream, collected by a thread of their own. */
  private final class Output {
    private final List<String> lines = new ArrayList<>();
    private final Thread reader;
    private boolean ended;

    Output(InputStream stream, String threadName) {
      reader = Thread.ofPlatform().daemon().name(threadName).start(() -> read(stream));
    }

    private void read(InputStream stream) {
      try (BufferedReader in = new BufferedReader(new InputStreamReader(stream, UTF_8))) {
        for (String line = in.readLine(); line != null; line = in.readLine()) {
          synchronized (lines) {
            lines.add(line);
            lines.notifyAll();
          }
        }
      } catch (IOException e) {
        // The process was killed; those who wait are told below.
      }
      synchronized (lines) {
        ended = true;
        lines.notifyAll();
      }
    }

    List<String> lines() {
      synchronized (lines) {
        return List.copyOf(lines);
      }
    }

    String await(Predicate<String> wanted, String what, Duration timeout) {
      long deadline = System.nanoTime() + timeout.toNanos();
      int at = 0;
      synchronized (lines) {
        while (true) {
          for (; at < lines.size(); at++) {
            if (wanted.test(lines.get(at))) {
              return lines.get(at);
            }
          }
          long leftMs = (deadline - System.nanoTime()) / 1_000_000;
          if (ended || leftMs <= 0) {
            break;
          }
          try {
            lines.wait(leftMs);
          } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
          }
        }
      }
      throw new AssertionError("no '" + what + "' from " + AgentProcess.this);
    }

    void awaitEnd() {
      try {
        reader.join(Duration.ofSeconds(5));
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IllegalStateException(e);
      }
    }
  }
}
