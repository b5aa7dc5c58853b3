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

  /** Major and minor number, and last the options of the filesystem itself. */
  private static final Pattern MOUNT = Pattern.compile("\\d+ \\d+ (\\d+):(\\d+) .* (\\S+)");

  private static final Pattern HUGE = Pattern.compile("(?:^|,)huge=(\\w+)");

  private static final String NEVER = "never";

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
              HostFacts.tmpfsHugePages().orElse(NEVER),
              mapping.isMemfd(),
              // Its own mounts: they may be in another namespace than the agent's.
              hugeOption(
                  Files.readAllLines(Path.of("/proc/%d/mountinfo".formatted(mapping.pid()))),
                  mapping.device()));
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
   * @param huge the option of another mount; empty: its mount was not found
   */
  static Optional<String> causeBefore64(String shmemEnabled, boolean memfd, Optional<String> huge) {
    return switch (shmemEnabled) {
      case "deny" -> Optional.empty();
      case "force" -> Optional.of("shmem_enabled is force");
      default ->
          memfd
              ? Optional.of("shmem_enabled is " + shmemEnabled).filter(s -> !s.endsWith("never"))
              : causeOfMount(huge);
    };
  }

  private static Optional<String> causeOfMount(Optional<String> huge) {
    return huge.isEmpty()
        ? Optional.of("its mount is not among those of the process")
        : huge.filter(option -> !option.equals(NEVER)).map(option -> "huge=" + option);
  }

  /**
   * The option of a mount, as proc_pid_mountinfo(5) shows it: never, where it has none.
   *
   * @param device st_dev of its files, as stat(2) has it
   * @return empty where no mount is of that device
   */
  static Optional<String> hugeOption(List<String> mountInfo, long device) {
    for (String line : mountInfo) {
      Matcher mount = MOUNT.matcher(line);
      if (mount.matches()
          && device
              == ProcMaps.deviceNumber(
                  Long.parseLong(mount.group(1)), Long.parseLong(mount.group(2)))) {
        Matcher huge = HUGE.matcher(mount.group(3));
        return Optional.of(huge.find() ? huge.group(1) : NEVER);
      }
    }
    return Optional.empty();
  }
}
