package dev.postcopy.dest.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.linux.HoleFilling;
import dev.postcopy.linux.HostCheck;
import dev.postcopy.linux.KernelVersion;
import dev.postcopy.linux.RamMapping;
import dev.postcopy.preflight.Checklist;
import dev.postcopy.preflight.QemuChecks;
import dev.postcopy.qmp.MemoryBackend;
import dev.postcopy.qmp.Qemu;
import dev.postcopy.qmp.QmpClient;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/** What has to hold of a QEMU and its host before it can take a guest in. */
final class DestinationChecks {

  private DestinationChecks() {}

  /**
   * Looks at everything, and touches nothing.
   *
   * @return QEMU's memory backends; empty where something does not hold
   */
  static Optional<List<MemoryBackend>> run(Checklist list, QmpClient qmp, Path stateFolder) {
    int pid = qmp.peerPid();
    Qemu qemu = new Qemu(qmp);
    list.require("kernel", HostCheck::requireKernel, "Linux " + KernelVersion.current());
    list.require(
        "ptrace", () -> HostCheck.requireTraceable(pid), "QEMU, pid " + pid + ", may be traced");
    list.require(
        "userfaultfd", () -> HostCheck.requireUserfaultfdIn(pid), found -> "by way of " + found);
    list.require(
        "earlier migrations",
        () -> EarlierMigrations.requireNoneUnfinished(pid, stateFolder),
        "none is unfinished");
    list.require("guest", () -> requireDeferred(qemu), "QEMU waits for one");
    Optional<List<MemoryBackend>> backends = QemuChecks.run(list, qemu);
    backends.ifPresent(found -> found.forEach(backend -> requireMapping(list, pid, backend)));
    if (!list.holds()) {
      return Optional.empty();
    }
    backends.ifPresent(found -> RoomForGuest.look(list, pid, found));
    return backends;
  }

  private static void requireMapping(Checklist list, int pid, MemoryBackend backend) {
    list.require(
        "RAM file of " + backend.id(),
        () -> {
          RamMapping found =
              RamMapping.locate(pid, backend.id(), backend.path(), backend.byteLength());
          HoleFilling.requireNone(found);
          return found;
        },
        found -> (found.path().isEmpty() ? "a memfd" : found.path()) + " on tmpfs");
  }

  private static void requireDeferred(Qemu qemu) {
    String state = qemu.runState();
    String migration = qemu.migrationState();
    if (!state.equals("inmigrate") || !migration.equals("none")) {
      throw new Refusal(
          "the destination QEMU is in state '%s' (migration: %s), not waiting for a guest"
              .formatted(state, migration),
          "start it with -incoming defer");
    }
  }
}
