package dev.postcopy.linux;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What is good to know of a host before a guest comes; a fact that cannot be read is left out. */
public final class HostFacts {
  private static final Pattern AVAILABLE = Pattern.compile("(?m)^MemAvailable:\\s+(\\d+) kB$");
  private static final Pattern CHOSEN = Pattern.compile("\\[(\\w+)]");

  private HostFacts() {}

  /** What may be allocated without swapping, in bytes (proc_meminfo(5)). */
  public static OptionalLong availableBytes() {
    return first(Path.of("/proc/meminfo"), AVAILABLE)
        .map(kib -> OptionalLong.of(1024 * Long.parseLong(kib)))
        .orElse(OptionalLong.empty());
  }

  /** When tmpfs uses huge pages by itself: always, within_size, advise, never, deny or force. */
  public static Optional<String> tmpfsHugePages() {
    return first(Path.of("/sys/kernel/mm/transparent_hugepage/shmem_enabled"), CHOSEN);
  }

  private static Optional<String> first(Path file, Pattern pattern) {
    try {
      Matcher matcher = pattern.matcher(Files.readString(file));
      return matcher.find() ? Optional.of(matcher.group(1)) : Optional.empty();
    } catch (IOException e) {
      return Optional.empty();
    }
  }
}
