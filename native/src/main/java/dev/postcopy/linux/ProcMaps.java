package dev.postcopy.linux;

import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The mappings of a process, proc_pid_maps(5). */
public final class ProcMaps {
  private static final Pattern LINE =
      Pattern.compile(
          "(?<start>\\p{XDigit}+)-(?<end>\\p{XDigit}+)"
              + " (?<permissions>[-r][-w][-x][ps])"
              + " (?<offset>\\p{XDigit}+)"
              + " (?<major>\\p{XDigit}+):(?<minor>\\p{XDigit}+)"
              + " (?<inode>\\d+)"
              + " *(?<path>.*)");
  private static final String DELETED = " (deleted)";

  private ProcMaps() {}

  /**
   * The mappings of a process in the order of their addresses, one per VMA.
   *
   * @throws LinuxException ESRCH when there is no such process
   * @throws HostRefusal when this process may not trace that one
   */
  public static List<Mapping> read(int pid) {
    return ProcStatus.lines(pid, "maps").stream().map(ProcMaps::parse).toList();
  }

  static Mapping parse(String line) {
    Matcher matcher = LINE.matcher(line);
    if (!matcher.matches()) {
      throw new IllegalArgumentException("not a line of /proc/PID/maps: " + line);
    }
    long start = hex(matcher, "start");
    RemoteRange range = new RemoteRange(new RemoteAddress(start), hex(matcher, "end") - start);
    String permissions = matcher.group("permissions");
    String path = matcher.group("path");
    boolean deleted = path.endsWith(DELETED);
    return new Mapping(
        range,
        range,
        permissions.charAt(0) == 'r',
        permissions.charAt(1) == 'w',
        permissions.charAt(2) == 'x',
        permissions.charAt(3) == 's',
        hex(matcher, "offset"),
        deviceNumber(hex(matcher, "major"), hex(matcher, "minor")),
        Long.parseLong(matcher.group("inode")),
        deleted ? path.substring(0, path.length() - DELETED.length()) : path,
        deleted);
  }

  /**
   * Joins neighbours that map consecutive parts of one file with the same rights. A VMM's
   * madvise(2) calls split one mapping into several VMAs.
   *
   * @param mappings in the order of their addresses
   */
  public static List<Mapping> mergeAdjacent(List<Mapping> mappings) {
    List<Mapping> merged = new ArrayList<>();
    for (Mapping next : mappings) {
      if (!merged.isEmpty() && merged.getLast().isContinuedBy(next)) {
        merged.addLast(merged.removeLast().continuedBy(next));
      } else {
        merged.add(next);
      }
    }
    return merged;
  }

  private static long hex(Matcher matcher, String group) {
    return Long.parseUnsignedLong(matcher.group(group), 16);
  }

  /** makedev(3) as in glibc's sys/sysmacros.h, so that it can be compared with st_dev. */
  static long deviceNumber(long major, long minor) {
    return (major & 0xfff) << 8 | (major & ~0xfffL) << 32 | (minor & 0xff) | (minor & ~0xffL) << 12;
  }
}
