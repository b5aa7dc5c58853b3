package dev.postcopy.linux;

import dev.postcopy.linux.abi.FileCalls;
import dev.postcopy.linux.abi.Syscalls;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A process with shared memory of its own, to attach to, fault in and kill. Its commands and their
 * replies are listed at the top of {@code scratch.c}. It is not a child of this JVM, but a
 * grandchild.
 *
 * <p>For a stress in the pattern of the kernel's uffd-stress: punch the RAM file, serve page {@code
 * p} with words {@link #word}(p, salt), send {@code round SALT THREADS}, and expect {@code round
 * ok}; a round of 16384 pages and 4 threads visits 65536 pages, so a million takes 16 rounds. Give
 * each round a salt of its own, so that a page left over from the last round is an error.
 */
public final class ScratchProcess implements AutoCloseable {
  public static final int PAGE_BYTES = 4096;
  private static final long REPLY_TIMEOUT_S = 120;
  private static final Pattern HELLO =
      Pattern.compile("pid=(\\d+) address=0x(\\p{XDigit}+) length=(\\d+)");

  private final Process launcher;
  private final PrintStream commands;
  private final BlockingQueue<String> replies = new LinkedBlockingQueue<>();
  private final int pid;
  private final RemoteRange range;

  private ScratchProcess(Process launcher) {
    this.launcher = launcher;
    this.commands = new PrintStream(launcher.getOutputStream(), true, StandardCharsets.UTF_8);
    Thread.ofVirtual().start(this::collectReplies);
    String hello = reply();
    Matcher matcher = HELLO.matcher(hello);
    if (!matcher.matches()) {
      throw new IllegalStateException("the scratch process said " + hello);
    }
    this.pid = Integer.parseInt(matcher.group(1));
    this.range =
        new RemoteRange(
            new RemoteAddress(Long.parseUnsignedLong(matcher.group(2), 16)),
            Long.parseLong(matcher.group(3)));
  }

  /** Starts one with a memfd. */
  public static ScratchProcess withMemfd(long byteLength) {
    return start(byteLength, "memfd");
  }

  /** Starts one that makes a file at {@code path} and maps it shared. */
  public static ScratchProcess withFile(long byteLength, String path) {
    return start(byteLength, path);
  }

  static ScratchProcess start(long byteLength, String... backingAndSharing) {
    String program = CCompiler.compileResource("scratch").toString();
    ProcessBuilder builder = new ProcessBuilder(program, Long.toString(byteLength));
    builder.command().addAll(List.of(backingAndSharing));
    builder.redirectError(ProcessBuilder.Redirect.INHERIT);
    try {
      return new ScratchProcess(builder.start());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  public int pid() {
    return pid;
  }

  public RemoteRange range() {
    return range;
  }

  /** The address of a page, counted from 0. */
  public RemoteAddress page(long index) {
    return range.start().plus(index * PAGE_BYTES);
  }

  public long pageCount() {
    return range.byteLength() / PAGE_BYTES;
  }

  /** Sends a command whose reply may come later. */
  public void send(String command) {
    commands.println(command);
  }

  /** The next reply, in the order in which commands complete. */
  public String reply() {
    String reply = replyWithin(TimeUnit.SECONDS.toMillis(REPLY_TIMEOUT_S));
    if (reply.isEmpty()) {
      throw new AssertionError("no reply of the scratch process within " + REPLY_TIMEOUT_S + " s");
    }
    return reply;
  }

  /** The next reply, or an empty string when none comes in time: the command is still blocked. */
  public String replyWithin(long milliseconds) {
    try {
      String reply = replies.poll(milliseconds, TimeUnit.MILLISECONDS);
      return reply == null ? "" : reply;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  /** Sends a command and waits for the next reply. */
  public String request(String command) {
    send(command);
    return reply();
  }

  /** Makes a userfaultfd in the process; its number there. */
  public int injectUserfaultfd() {
    long flags = FileCalls.O_CLOEXEC | FileCalls.O_NONBLOCK;
    long result = SyscallInjector.inject(pid, Syscalls.SYS_userfaultfd, flags);
    return (int) LinuxException.orThrow("injected userfaultfd", result);
  }

  /** Attaches to a userfaultfd of the process. */
  public Userfaultfd takeUserfaultfd(int remoteFd) {
    try (PidFd process = PidFd.open(pid)) {
      return Userfaultfd.attach(process.takeDescriptor(remoteFd));
    }
  }

  /** The memory of a memfd process as a file. */
  public RamFile openMemfd() {
    return RamMapping.locate(pid, "scratch", "", range.byteLength()).open(true);
  }

  /**
   * What every 8-byte word of a page is in the round of a salt; {@code expected_word} in scratch.c.
   */
  public static long word(long pageIndex, long salt) {
    return mix(pageIndex ^ mix(salt));
  }

  /** Fills one page of memory with its words. */
  public static void fillPage(MemorySegment page, long pageIndex, long salt) {
    long word = word(pageIndex, salt);
    for (long offset = 0; offset < PAGE_BYTES; offset += Long.BYTES) {
      page.set(ValueLayout.JAVA_LONG, offset, word);
    }
  }

  private static long mix(long value) {
    long x = value + 0x9e3779b97f4a7c15L;
    x = (x ^ (x >>> 30)) * 0xbf58476d1ce4e5b9L;
    x = (x ^ (x >>> 27)) * 0x94d049bb133111ebL;
    return x ^ (x >>> 31);
  }

  /** Ends the process at once with SIGKILL and waits until it is gone. */
  public void kill() {
    ProcessHandle.of(pid).ifPresent(ProcessHandle::destroyForcibly);
    awaitEnd();
  }

  /** Ends the process, blocked threads included. */
  @Override
  public void close() {
    commands.close();
    awaitEnd();
  }

  private void awaitEnd() {
    try {
      if (!launcher.waitFor(5, TimeUnit.SECONDS)) {
        ProcessHandle.of(pid).ifPresent(ProcessHandle::destroyForcibly);
        launcher.destroyForcibly().waitFor();
      }
    } catch (InterruptedException e) {
      launcher.destroyForcibly();
      Thread.currentThread().interrupt();
    }
  }

  private void collectReplies() {
    try (BufferedReader reader = launcher.inputReader(StandardCharsets.UTF_8)) {
      for (String line = reader.readLine(); line != null; line = reader.readLine()) {
        replies.add(line);
      }
    } catch (IOException e) {
      replies.add("no more replies: " + e.getMessage());
    }
  }
}
