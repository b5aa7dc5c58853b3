package dev.postcopy.source.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.journal.Journal;
import dev.postcopy.journal.SourceEntry;
import dev.postcopy.linux.HostCheck;
import dev.postcopy.linux.HostRefusal;
import dev.postcopy.linux.KernelVersion;
import dev.postcopy.linux.ProcessStart;
import dev.postcopy.linux.RamMapping;
import dev.postcopy.linux.WriteWatch;
import dev.postcopy.preflight.Checklist;
import dev.postcopy.preflight.QemuChecks;
import dev.postcopy.qmp.MemoryBackend;
import dev.postcopy.qmp.Qemu;
import dev.postcopy.qmp.QmpClient;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/** What has to hold of a QEMU and its host before its guest can be given away. */
final class SourceChecks {

  private SourceChecks() {}

  /**
   * What was found of a guest that can move.
   *
   * @param running false: it is paused
   */
  record Fitness(boolean running, List<MemoryBackend> backends) {}

  /**
   * Looks at everything, and touches nothing.
   *
   * @return empty where something does not hold
   */
  static Optional<Fitness> run(Checklist list, QmpClient qmp, Path stateFolder) {
    int pid = qmp.peerPid();
    Qemu qemu = new Qemu(qmp);
    list.require("kernel", HostCheck::requireKernel, "Linux " + KernelVersion.current());
    list.require(
        "earlier migrations", () -> requireNoneUnfinished(pid, stateFolder), "none is unfinished");
    Optional<Boolean> running =
        list.require("guest", () -> requireGuest(qemu), found -> found ? "running" : "paused");
    Optional<List<MemoryBackend>> backends = QemuChecks.run(list, qemu);
    list.require(
        "QEMU's own blockers",
        () -> QemuChecks.requireNotBlocked(qemu),
        "nothing stands against it");
    list.require(
        "QEMU's own migration", () -> requireNoneUnderWay(qemu), "none of its own is under way");
    backends.ifPresent(found -> found.forEach(backend -> requireFile(list, qemu, pid, backend)));
    if (list.holds() && backends.isPresent()) {
      list.require(
          "other writers",
          () -> SourceVm.openUnshared(pid, backends.get()).close(),
          "no other process may write to the guest's RAM");
    }
    return list.holds() && running.isPresent() && backends.isPresent()
        ? Optional.of(new Fitness(running.get(), backends.get()))
        : Optional.empty();
  }

  /** That what a backend holds can be read, and stays to be read. */
  private static void requireFile(Checklist list, Qemu qemu, int pid, MemoryBackend backend) {
    list.require(
        "RAM file of " + backend.id(),
        () -> RamMapping.locate(pid, backend.id(), backend.path(), backend.byteLength()),
        found -> (found.path().isEmpty() ? "a memfd" : found.path()) + " on tmpfs, readable");
    list.require(
        "content of " + backend.id(),
        () -> qemu.requireKeepsContent(backend),
        "stays when QEMU ends");
  }

  /**
   * Whether the writes of a guest can be watched, so that its memory can go ahead.
   *
   * @return why not; empty where they can
   */
  static Optional<String> whyNoPrecopy(Qemu qemu, int pid) {
    try {
      HostCheck.requireTraceable(pid);
      var _ = HostCheck.requireUserfaultfdIn(pid);
    } catch (HostRefusal e) {
      return Optional.of(e.reason());
    }
    return WriteWatch.whyNot()
        .or(
            () ->
                qemu.mappingBlockDriver()
                    .map(driver -> "block driver " + driver + " writes to guest RAM unseen"));
  }

  /** Two sessions could both think that the guest is theirs to set going. */
  private static void requireNoneUnfinished(int pid, Path stateFolder) {
    for (Journal.Found<SourceEntry> other :
        Journal.find(stateFolder, SourceEntry.KIND, SourceEntry.class)) {
      SourceEntry entry = other.entry();
      if (entry.state() != SourceEntry.State.ABORTED
          && entry.vm().pid() == pid
          && ProcessStart.isAlive(pid, entry.vm().startTicks())) {
        throw new Refusal(
            "an earlier migration of this guest was not finished (%s)".formatted(other.journal()),
            "finish it with source-agent resume");
      }
    }
  }

  /** It would be cancelled, or end in a QEMU that was set for this project's. */
  private static void requireNoneUnderWay(Qemu qemu) {
    String state = qemu.migrationState();
    if (!SourceVm.ENDED.contains(state)) {
      throw new Refusal(
          "QEMU is migrating this guest by itself (%s)".formatted(state),
          "wait for its end, or cancel it in QEMU's monitor");
    }
  }

  /** Whether the guest runs. */
  static boolean requireGuest(Qemu qemu) {
    String state = qemu.runState();
    return switch (state) {
      case "running" -> true;
      case "paused", "prelaunch" -> false;
      // QEMU holds one to be gone that was paused when its migration failed; so is one that is
      // gone.
      case "postmigrate" ->
          throw new Refusal(
              "the guest is in state 'postmigrate'",
              "where an earlier migration failed and it is nowhere else: say cont in QEMU's monitor,"
                  + " and stop if it is to stay paused");
      default ->
          throw new Refusal(
              "the guest is in state '" + state + "'",
              "only a running or paused guest can be migrated");
    };
  }
}
