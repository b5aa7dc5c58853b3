package dev.postcopy.transport.tls;

import dev.postcopy.cli.Refusal;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileTime;
import java.util.List;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What files say, read again whenever one of them has changed. Files that cannot be used, as when
 * somebody is still writing them, leave what was read before in force. For any thread.
 */
final class ReloadedFiles<T> {

  private static final Logger log = LoggerFactory.getLogger(ReloadedFiles.class);

  private final List<Path> files;
  private final Supplier<T> read;
  private List<Stamp> stamps;
  private T current;

  /** What changes when a file is written to or replaced. */
  private record Stamp(@Nullable FileTime modified, @Nullable Object inode, long byteLength) {

    static Stamp of(Path file) {
      try {
        BasicFileAttributes attributes = Files.readAttributes(file, BasicFileAttributes.class);
        return new Stamp(attributes.lastModifiedTime(), attributes.fileKey(), attributes.size());
      } catch (IOException e) {
        return new Stamp(null, null, -1);
      }
    }
  }

  /**
   * Reads the files for the first time.
   *
   * @param read reads all of them; throws Refusal where they cannot be used
   * @throws Refusal likewise
   */
  ReloadedFiles(List<Path> files, Supplier<T> read) {
    this.files = List.copyOf(files);
    this.read = read;
    this.stamps = stampAll();
    this.current = read.get();
  }

  private List<Stamp> stampAll() {
    return files.stream().map(Stamp::of).toList();
  }

  /** What the files say now, or said when they could be used last. */
  synchronized T current() {
    // Looked at before they are read: a change that comes in between is seen the next time.
    List<Stamp> now = stampAll();
    if (now.equals(stamps)) {
      return current;
    }
    stamps = now;
    try {
      current = read.get();
      log.info("read anew: {}", files);
    } catch (Refusal e) {
      log.warn("{}; what was read before stays in force", e.reason());
    }
    return current;
  }
}
