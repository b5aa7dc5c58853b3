package dev.postcopy.journal;

import java.io.IOException;
import java.net.ConnectException;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.FileChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What agents that were killed leave in the state folder and nobody needs any more: locks of
 * migrations that have no journal, journals that have no entry, sockets that nobody listens on, and
 * what they had for a moment only. Safe to be used by several processes and threads at once.
 */
final class Litter {

  /** How the name of a folder begins that is of use for a moment: then the process's id. */
  private static final String HIDDEN = ".hidden-";

  private static final Pattern HIDDEN_NAME = Pattern.compile("\\.hidden-([0-9]{1,18})-.*");

  /** The ending of files that are made to see whether one can be. */
  static final String PROBE = ".probe";

  private static final Logger log = LoggerFactory.getLogger(Litter.class);

  /**
   * The locks of this process. A process loses a lock when it closes any descriptor of the file
   * (fcntl(2)), so these must not even be opened.
   */
  private static final Set<Path> HELD = ConcurrentHashMap.newKeySet();

  private Litter() {}

  /** Removes what is certainly nobody's. */
  static void remove(Path folder) {
    try (DirectoryStream<Path> files = Files.newDirectoryStream(folder, "*{.lock,.probe}")) {
      for (Path file : files) {
        removeLock(file);
      }
      removeDeadSockets(folder);
      removeHiddenFolders(folder);
    } catch (IOException e) {
      log.warn("the state folder {} is not cleaned up: {}", folder, e.getMessage());
    }
  }

  /** A socket gets its name when it is listened on: one that refuses is nobody's for certain. */
  private static void removeDeadSockets(Path folder) throws IOException {
    try (DirectoryStream<Path> sockets = Files.newDirectoryStream(folder, "*.control")) {
      for (Path socket : sockets) {
        try (SocketChannel _ = SocketChannel.open(UnixDomainSocketAddress.of(socket))) {
          log.debug("{} is alive", socket);
        } catch (ConnectException e) {
          Files.deleteIfExists(socket);
          log.info("removed {}, which an agent left that was killed", socket);
        } catch (IOException e) {
          log.debug("{}: {}", socket, e.getMessage());
        }
      }
    }
  }

  /**
   * How the name of a folder begins that others may remove when the process {@code pid} is gone.
   */
  static String hiddenPrefix(long pid) {
    return HIDDEN + pid + "-";
  }

  private static void removeHiddenFolders(Path folder) throws IOException {
    try (DirectoryStream<Path> folders = Files.newDirectoryStream(folder, HIDDEN + "*")) {
      for (Path hidden : folders) {
        Matcher name = HIDDEN_NAME.matcher(hidden.getFileName().toString());
        if (name.matches() && ProcessHandle.of(Long.parseLong(name.group(1))).isEmpty()) {
          removeWithFiles(hidden);
          log.info("removed {}, which an agent left that was killed", hidden);
        }
      }
    }
  }

  /** Others may be removing the same. */
  private static void removeWithFiles(Path hidden) throws IOException {
    try (DirectoryStream<Path> files = Files.newDirectoryStream(hidden)) {
      for (Path file : files) {
        Files.deleteIfExists(file);
      }
    } catch (NoSuchFileException e) {
      return;
    }
    Files.deleteIfExists(hidden);
  }

  private static void removeLock(Path file) throws IOException {
    FileChannel lock = lock(file);
    if (lock == null) {
      return;
    }
    try {
      String name = file.getFileName().toString();
      if (name.endsWith(Journal.LOCK)) {
        Path journal =
            file.resolveSibling(name.substring(0, name.length() - Journal.LOCK.length()));
        if (Journal.hasEntry(journal)) {
          return;
        }
        Files.deleteIfExists(journal);
      }
      // While it is locked: who opened it meanwhile finds that it is not there any more.
      Files.deleteIfExists(file);
      log.info("removed {}, which an agent left that was killed", file);
    } finally {
      unlock(file, lock);
    }
  }

  /**
   * Locks a file, which is made where it is not there.
   *
   * @return null where somebody else holds it, in this process or another
   */
  static @Nullable FileChannel lock(Path file) throws IOException {
    Path absolute = file.toAbsolutePath();
    if (!HELD.add(absolute)) {
      return null;
    }
    FileChannel channel = null;
    boolean locked = false;
    try {
      channel = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
      // Whoever removed it before we had it locked a file that has no name now.
      locked = channel.tryLock() != null && Files.exists(file);
      return locked ? channel : null;
    } finally {
      if (!locked) {
        HELD.remove(absolute);
        if (channel != null) {
          channel.close();
        }
      }
    }
  }

  static void unlock(Path file, FileChannel lock) throws IOException {
    try {
      lock.close();
    } finally {
      HELD.remove(file.toAbsolutePath());
    }
  }
}
