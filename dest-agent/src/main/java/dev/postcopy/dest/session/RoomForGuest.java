package dev.postcopy.dest.session;

import dev.postcopy.linux.HostFacts;
import dev.postcopy.linux.RamFile;
import dev.postcopy.linux.RamMapping;
import dev.postcopy.preflight.Checklist;
import dev.postcopy.qmp.MemoryBackend;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Whether the memory of a guest that comes will fit. */
final class RoomForGuest {

  private static final String ROOM = "room for the guest";

  private RoomForGuest() {}

  /** How much of its RAM a guest uses is not known here: too little room is a warning. */
  static void look(Checklist list, int pid, List<MemoryBackend> backends) {
    Map<Long, Long> neededByDevice = new HashMap<>();
    Map<Long, Long> freeByDevice = new HashMap<>();
    for (MemoryBackend backend : backends) {
      RamMapping mapping =
          RamMapping.locate(pid, backend.id(), backend.path(), backend.byteLength());
      try (RamFile file = mapping.open(false)) {
        neededByDevice.merge(
            mapping.device(), backend.byteLength() - file.allocatedBytes(), Long::sum);
        freeByDevice.put(mapping.device(), file.filesystemFreeBytes());
      }
    }
    boolean enough = true;
    for (Map.Entry<Long, Long> needed : neededByDevice.entrySet()) {
      enough &=
          warnIfLess(
              list,
              "its tmpfs",
              needed.getValue(),
              freeByDevice.getOrDefault(needed.getKey(), Long.MAX_VALUE));
    }
    long all = neededByDevice.values().stream().mapToLong(Long::longValue).sum();
    enough &= warnIfLess(list, "this host", all, HostFacts.availableBytes().orElse(Long.MAX_VALUE));
    if (enough) {
      list.hold(ROOM, "%d MiB, if it uses all of its RAM".formatted(all >> 20));
    }
  }

  private static boolean warnIfLess(Checklist list, String where, long needed, long free) {
    if (needed <= free) {
      return true;
    }
    list.warn(
        ROOM,
        "up to %d MiB are needed, %s has %d MiB free".formatted(needed >> 20, where, free >> 20),
        "make room, unless you know that the guest uses less");
    return false;
  }
}
