package dev.postcopy.linux;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Whether the kernel by itself may fill holes of a RAM file. Before Linux 6.4 khugepaged joins
 * small pages of tmpfs to a huge one and makes zeros of the holes between them, also where a
 * userfaultfd waits for these (mm/khugepaged.c, collapse_file; "skip shmem with userfaultfd" came
 * with 6.4): the guest would read zeros in place of memory that has not arrived.
 */
public final class HoleFilling {

  private static final Path MOUNTS = Path.of("/proc/self/mountinfo");

  /** Major and minor number, and last the options of the filesystem itself. */
  private static final Pattern MOUNT = Pattern.compile("\\d+ \\d+ (\\d+):(\\d+) .* (\\S+)");

  private static final Pattern HUGE = Pattern.compile("(?:^|,)huge=(\\w+)");

  private HoleFilling() {}

  /**
   * Checks that missing pages of a RAM file stay missing until they are placed.
   *
   * @throws HostRefusal where the kernel may fill them
   */
  public static void requireNone(RamMapping mapping) {
    if (KernelVersion.current().isAtLeast(6, 4)) {
      return;
    }
    try {
      Optional<String> cause =
          causeBefore64(
              HostFacts.tmpfsHugePages().orElse("never"),
              mapping.isMemfd(),
              hugeOption(Files.readAllLines(MOUNTS), mapping.device()));
      if (cause.isPresent()) {
        throw new HostRefusal(
            "RAM block %s: Linux %s may fill holes of its tmpfs with zeros (%s)"
                .formatted(mapping.blockId(), KernelVersion.current(), cause.get()),
            "use Linux 6.4 or later, or mount that tmpfs with huge=never");
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /**
   * What lets khugepaged at a file of tmpfs; admin-guide/mm/transhuge.rst.
   *
   * @param shmemEnabled of /sys/kernel/mm/transparent_hugepage
   * @param memfd on the kernel's own mount, for which {@code shmemEnabled} stands
   * @param huge the option of another mount; empty: never
   */
  static Optional<String> causeBefore64(String shmemEnabled, boolean memfd, Optional<String> huge) {
    return switch (shmemEnabled) {
      case "deny" -> Optional.empty();
      case "force" -> Optional.of("shmem_enabled is force");
      default ->
          memfd
              ? Optional.of("shmem_enabled is " + shmemEnabled).filter(s -> !s.endsWith("never"))
              : huge.filter(option -> !option.equals("never")).map(option -> "huge=" + option);
    };
  }

  /**
   * The option of a mount, as proc_pid_mountinfo(5) shows it.
   *
   * @param device st_dev of its files, as stat(2) has it
   */
  static Optional<String> hugeOption(List<String> mountInfo, long device) {
    for (String line : mountInfo) {
      Matcher mount = MOUNT.matcher(line);
      if (mount.matches()
          && device
              == ProcMaps.deviceNumber(
                  Long.parseLong(mount.group(1)), Long.parseLong(mount.group(2)))) {
        Matcher huge = HUGE.matcher(mount.group(3));
        return huge.find() ? Optional.of(huge.group(1)) : Optional.empty();
      }
    }
    return Optional.empty();
  }
}
