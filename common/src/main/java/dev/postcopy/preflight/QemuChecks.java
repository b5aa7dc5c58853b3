package dev.postcopy.preflight;

import dev.postcopy.cli.Refusal;
import dev.postcopy.qmp.MemoryBackend;
import dev.postcopy.qmp.Qemu;
import dev.postcopy.qmp.QemuVersion;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** What a QEMU must be, on either side. */
public final class QemuChecks {

  private QemuChecks() {}

  /**
   * Version, devices and RAM.
   *
   * @return the memory backends; empty where one of them cannot be migrated
   */
  public static Optional<List<MemoryBackend>> run(Checklist list, Qemu qemu) {
    Optional<QemuVersion> version =
        list.require("QEMU", qemu::supportedVersion, found -> "version " + found);
    list.require("devices", qemu::requireNoForeignMappers, "QEMU alone accesses the guest's RAM");
    Optional<List<MemoryBackend>> backends =
        list.require("memory backends", qemu::backends, found -> found.size() + " found");
    if (version.isEmpty() || backends.isEmpty()) {
      return Optional.empty();
    }
    List<MemoryBackend> migratable = new ArrayList<>();
    for (MemoryBackend backend : backends.get()) {
      list.require(
              "RAM " + backend.id(),
              () -> {
                Qemu.requireMigratable(backend, version.get());
                return backend;
              },
              found -> "%d MiB, shared, %s".formatted(found.byteLength() >> 20, found.type()))
          .ifPresent(migratable::add);
    }
    return migratable.size() == backends.get().size()
        ? Optional.of(List.copyOf(migratable))
        : Optional.empty();
  }

  /**
   * That nothing in QEMU itself stands against a migration, as it tells from version 6.0 on.
   *
   * @throws Refusal where something does
   */
  public static void requireNotBlocked(Qemu qemu) {
    List<String> reasons = qemu.migrationBlockers();
    if (!reasons.isEmpty()) {
      throw new Refusal(
          "QEMU cannot migrate this guest: " + String.join(" ", reasons),
          "remove what it names from the guest");
    }
  }
}
