package dev.postcopy.journal;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.postcopy.cli.Refusal;
import dev.postcopy.jvm.Compiler;
import java.io.EOFException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.SeekableByteChannel;
import java.nio.file.AccessDeniedException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.ObjectMapper;

/**
 * How far a migration has come, in a file of its own: a line for each step, of which the last whole
 * one counts. An entry is on the disk when {@link #write(Record)} returns; a crash in between
 * leaves the one before. One system call for each, and few steps to it: the guest stands still for
 * some of them. For the session's thread.
 *
 * @param <T> a record that JSON can hold
 */
public final class Journal<T extends Record> implements AutoCloseable {

  /** The ending of the file that an agent locks while it is at work. */
  static final String LOCK = ".lock";

  private static final Logger log = LoggerFactory.getLogger(Journal.class);
  private static final int MAX_ENTRY_BYTES = 4096;

  /**
   * What java.nio lets the path of a socket have, one byte less than unix(7), and the longest name
   * of one that is kept here.
   */
  private static final int MAX_SOCKET_PATH_BYTES = 106;

  private static final int MAX_SOCKET_NAME_BYTES = "/".length() + 36 + ".control".length();

  /** On Linux, java.nio removes the name of such a file as soon as it is open. */
  private static final Set<OpenOption> UNNAMED_FILE =
      Set.of(
          StandardOpenOption.CREATE_NEW,
          StandardOpenOption.WRITE,
          StandardOpenOption.DELETE_ON_CLOSE);

  private static final long REHEARSAL_NANOS = TimeUnit.MILLISECONDS.toNanos(200);

  private static final int LOCK_TRIES = 5;
  private static final int LOCK_PAUSE_MILLIS = 20;
  private static final ObjectMapper JSON = new ObjectMapper();

  private final Path folder;
  private final Path file;
  private final Class<T> type;
  private @Nullable FileChannel lock;

  /** At {@link #endOffset}, but while an entry is written. */
  private @Nullable RandomAccessFile entries;

  private long endOffset;

  private Journal(Path folder, String name, Class<T> type) {
    this.folder = folder;
    this.file = folder.resolve(name);
    this.type = type;
  }

  /**
   * A journal that nothing was written to yet.
   *
   * @param folder made where it is not there, for its owner only
   * @param name distinct for each migration
   * @throws Refusal where the folder cannot be written to
   */
  public static <T extends Record> Journal<T> create(
      Path folder, String name, String kind, Class<T> type) {
    requireWritable(folder);
    Journal<T> journal = new Journal<>(folder, name + "." + kind, type);
    journal.takeUp();
    return journal;
  }

  /**
   * Makes sure that journals, and the sockets beside them, can be kept in {@code folder}; makes it,
   * for its owner only.
   *
   * @throws Refusal where that cannot be
   */
  public static void requireFolder(Path folder) {
    int pathBytes = folder.toAbsolutePath().toString().getBytes(UTF_8).length;
    if (pathBytes > MAX_SOCKET_PATH_BYTES - MAX_SOCKET_NAME_BYTES) {
      // A socket would listen there that nobody can connect to.
      throw new Refusal(
          "the path of the state folder %s is longer than the %d bytes that leave room for a socket"
              .formatted(folder, MAX_SOCKET_PATH_BYTES - MAX_SOCKET_NAME_BYTES),
          "name another folder with --state-dir");
    }
    try {
      Files.createDirectories(
          folder,
          PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
    } catch (IOException e) {
      throw refusal(folder, e);
    }
    if (!Files.isWritable(folder)) {
      throw refusal(folder, new IOException("Permission denied"));
    }
    Litter.remove(folder);
  }

  /**
   * {@link #requireFolder}, with room for a journal that is begun now.
   *
   * @throws Refusal where there is none
   */
  public static void requireWritable(Path folder) {
    requireFolder(folder);
    try {
      requireRoom(folder);
    } catch (IOException e) {
      throw refusal(folder, e);
    }
  }

  /**
   * A folder in {@code folder} that only its owner may enter, and that is removed by others when
   * this process is gone.
   */
  public static Path hiddenFolder(Path folder) throws IOException {
    return Files.createTempDirectory(folder, Litter.hiddenPrefix(ProcessHandle.current().pid()));
  }

  /** Removes what agents that were killed left in {@code folder}, and nobody needs. */
  public static void tidy(Path folder) {
    if (Files.isDirectory(folder)) {
      Litter.remove(folder);
    }
  }

  /**
   * A disk that is full is better known before anything is begun. The file has no name any more
   * when it is written to, so that nobody takes it for what a killed agent left.
   */
  private static void requireRoom(Path folder) throws IOException {
    Path probe = folder.resolve("probe-" + UUID.randomUUID() + Litter.PROBE);
    try (SeekableByteChannel channel = Files.newByteChannel(probe, UNNAMED_FILE)) {
      for (ByteBuffer rest = ByteBuffer.allocate(MAX_ENTRY_BYTES); rest.hasRemaining(); ) {
        channel.write(rest);
      }
    }
  }

  /**
   * Makes this process the one that goes on with the migration, until it ends.
   *
   * @throws Refusal where another process does so
   */
  public void takeUp() {
    try {
      for (int i = 0; lock == null && i < LOCK_TRIES; i++) {
        lock = Litter.lock(lockFile());
        if (lock == null) {
          // Somebody may just be looking whether it is litter.
          Thread.sleep(LOCK_PAUSE_MILLIS);
        }
      }
      if (lock == null) {
        throw Refusal.passing(
            "another agent is at work on this migration (%s)".formatted(file),
            "end that agent first, or leave it to it");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw refusal(folder, new IOException("interrupted"));
    } catch (IOException e) {
      throw refusal(folder, e);
    }
  }

  private Path lockFile() {
    return file.resolveSibling(file.getFileName() + LOCK);
  }

  private static Refusal refusal(Path folder, IOException cause) {
    return new Refusal(
        "cannot write to the state folder %s: %s"
            .formatted(
                folder,
                cause instanceof AccessDeniedException ? "Permission denied" : cause.getMessage()),
        "run the agent as root, or name another folder with --state-dir");
  }

  /**
   * A journal, and what was written last when it was found: where another agent is at work on the
   * migration, the file may be gone a moment later.
   */
  public record Found<T extends Record>(Journal<T> journal, T entry) {}

  /**
   * The journals of a kind in {@code folder}; one that cannot be read is left out, and the log says
   * so.
   */
  public static <T extends Record> List<Found<T>> find(Path folder, String kind, Class<T> type) {
    List<Found<T>> found = new ArrayList<>();
    try (DirectoryStream<Path> files = Files.newDirectoryStream(folder, "*." + kind)) {
      for (Path file : files) {
        Journal<T> journal = new Journal<>(folder, file.getFileName().toString(), type);
        journal.look().ifPresent(entry -> found.add(new Found<>(journal, entry)));
      }
    } catch (NoSuchFileException e) {
      log.debug("no state folder {}", folder);
    } catch (IOException e) {
      throw refusal(folder, e);
    }
    return found;
  }

  /**
   * The journal with a name, where there is one.
   *
   * @throws Refusal where there is one that cannot be read: nobody may take it for none
   */
  public static <T extends Record> Optional<Journal<T>> named(
      Path folder, String name, String kind, Class<T> type) {
    Journal<T> journal = new Journal<>(folder, name + "." + kind, type);
    try {
      journal.readFile();
      return Optional.of(journal);
    } catch (NoSuchFileException | EOFException e) {
      // Without a whole entry nothing was begun.
      return Optional.empty();
    } catch (IOException | JacksonException e) {
      throw new Refusal(
          journal.unreadable(e),
          "look at what is in it, and at the disk; remove it where its migration is over");
    }
  }

  private String unreadable(Exception cause) {
    return "the journal %s cannot be read: %s".formatted(file, cause.getMessage());
  }

  /** What was written last, where that can be read. */
  private Optional<T> look() {
    try {
      return Optional.of(readFile());
    } catch (NoSuchFileException e) {
      return Optional.empty();
    } catch (IOException | JacksonException e) {
      log.warn("{}", unreadable(e));
      return Optional.empty();
    }
  }

  /** What was written last. */
  public T read() {
    try {
      return readFile();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private T readFile() throws IOException {
    return JSON.readValue(lastLine(Files.readAllBytes(file)), type);
  }

  /** Whether a migration was begun that {@code file} is the journal of. */
  static boolean hasEntry(Path file) throws IOException {
    return Files.exists(file) && wholeBytes(Files.readAllBytes(file)) > 0;
  }

  private static int wholeBytes(byte[] bytes) {
    int end = bytes.length;
    while (end > 0 && bytes[end - 1] != '\n') {
      end--;
    }
    return end;
  }

  /** An entry is a line; one that was cut off by a crash has no end, and does not count. */
  private static byte[] lastLine(byte[] bytes) throws IOException {
    int end = wholeBytes(bytes);
    if (end == 0) {
      throw new EOFException("no whole entry");
    }
    int start = end - 1;
    while (start > 0 && bytes[start - 1] != '\n') {
      start--;
    }
    return Arrays.copyOfRange(bytes, start, end);
  }

  /**
   * Adds an entry, which counts instead of those before it; it is on the disk when this returns.
   *
   * @throws UncheckedIOException where it could not be written; the entry before it counts on
   */
  public void write(T entry) {
    write(prepare(entry));
  }

  /**
   * An entry as the file has it. To be made beforehand for one that is written while the guest
   * stands still: writing takes less time than finding the words.
   */
  public static final class Prepared<T> {

    private final T entry;
    private final byte[] line;

    private Prepared(T entry, byte[] line) {
      this.entry = entry;
      this.line = line;
    }

    /** What the line says. */
    public T entry() {
      return entry;
    }
  }

  /** Makes an entry that can be written later, or never. */
  public Prepared<T> prepare(T entry) {
    String line = JSON.writeValueAsString(entry) + "\n";
    return new Prepared<>(entry, line.getBytes(UTF_8));
  }

  /** {@link #write(Record)}. */
  public void write(Prepared<T> entry) {
    try {
      RandomAccessFile opened = open();
      try {
        opened.write(entry.line);
      } catch (IOException e) {
        // It may be there and not be synced: whoever comes back must not find it.
        cutOff(opened);
        throw e;
      }
      endOffset += entry.line.length;
    } catch (IOException e) {
      throw unwritable(e);
    }
  }

  private UncheckedIOException unwritable(IOException cause) {
    return new UncheckedIOException(
        "cannot write the journal %s: %s".formatted(file, cause.getMessage()), cause);
  }

  /**
   * Writes an entry, and writes it again until the JVM has the way compiled: the guest stands still
   * for some of those that follow. Not for long, where the disk is slow; and each over the one
   * before, since the folder may have room for few.
   *
   * @throws UncheckedIOException as {@link #write(Record)}
   */
  public void writeAndRehearse(T entry) {
    long deadlineNanos = System.nanoTime() + REHEARSAL_NANOS;
    Prepared<T> prepared = prepare(entry);
    write(prepared);
    try {
      for (int i = 1; i < Compiler.ENOUGH_CALLS && System.nanoTime() < deadlineNanos; i++) {
        endOffset -= prepared.line.length;
        open().seek(endOffset);
        write(prepared);
      }
    } catch (IOException e) {
      throw unwritable(e);
    }
  }

  /**
   * {@link #write(Record)}, where the entry before it leads to the same end: the log says that it
   * failed.
   */
  public void writeOrWarn(T entry) {
    writeOrWarn(prepare(entry));
  }

  /** {@link #writeOrWarn(Record)}. */
  public void writeOrWarn(Prepared<T> entry) {
    try {
      write(entry);
    } catch (UncheckedIOException e) {
      log.warn("{}", e.getMessage());
    }
  }

  /** The next entry follows on the last one that counts, also where the file cannot be cut. */
  private void cutOff(RandomAccessFile opened) throws IOException {
    opened.seek(endOffset);
    opened.setLength(endOffset);
  }

  private RandomAccessFile open() throws IOException {
    RandomAccessFile opened = entries;
    if (opened == null) {
      // What is written is on the disk when write(2) returns: open(2), O_SYNC.
      opened = new RandomAccessFile(file.toFile(), "rws");
      try {
        // What a crash or a full disk cut off is written over.
        endOffset = wholeBytes(Files.readAllBytes(file));
        cutOff(opened);
        // A new file is only as durable as the folder that it is in: fsync(2), NOTES.
        try (FileChannel channel = FileChannel.open(folder, StandardOpenOption.READ)) {
          channel.force(true);
        }
      } catch (IOException e) {
        // Not kept: where its end is may not be known, and an entry would go over others.
        opened.close();
        throw e;
      }
      entries = opened;
    }
    return opened;
  }

  /** The migration has ended: nothing is to be taken up. */
  public void remove() {
    deleteQuietly(file);
    deleteQuietly(lockFile());
  }

  /** This process goes on with the migration no longer; the entry stays for the next. */
  @Override
  public void close() {
    try {
      if (entries != null) {
        entries.close();
      }
      if (lock != null) {
        Litter.unlock(lockFile(), lock);
        lock = null;
      }
    } catch (IOException e) {
      log.debug("closing the lock", e);
    }
  }

  private static void deleteQuietly(Path path) {
    try {
      Files.deleteIfExists(path);
    } catch (IOException e) {
      log.warn("cannot remove {}: {}", path, e.getMessage());
    }
  }

  @Override
  public String toString() {
    return file.toString();
  }
}
