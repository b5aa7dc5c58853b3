package dev.postcopy.dest.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.journal.DestinationEntry;
import dev.postcopy.journal.Journal;
import dev.postcopy.journal.VmIdentity;
import dev.postcopy.linux.ProcessStart;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.UUID;

/** What a state folder knows of migrations to QEMUs of this host. */
final class EarlierMigrations {

  /** Of a QEMU that is gone a journal may be left, and its socket be another's now. */
  private static final Comparator<Journal.Found<DestinationEntry>> ORDER =
      Comparator.comparing((Journal.Found<DestinationEntry> left) -> !isAlive(left.entry().vm()))
          .thenComparing(left -> left.entry().state(), Comparator.reverseOrder());

  private EarlierMigrations() {}

  /** Those of QEMUs that live come first, and of these the ones that have come furthest. */
  static List<Journal.Found<DestinationEntry>> in(Path stateFolder) {
    return Journal.find(stateFolder, DestinationEntry.KIND, DestinationEntry.class).stream()
        .sorted(ORDER)
        .toList();
  }

  /** Whether the QEMU of a journal lives; its pid may be another process's by now. */
  static boolean isAlive(VmIdentity vm) {
    return ProcessStart.isAlive(vm.pid(), vm.startTicks());
  }

  /**
   * Two journals of one QEMU could lead to two ends: what the older one says is not true any more.
   *
   * @throws Refusal where a migration to the process was not finished
   */
  static void requireNoneUnfinished(int pid, Path stateFolder) {
    for (Journal.Found<DestinationEntry> left : in(stateFolder)) {
      if (left.entry().vm().pid() == pid && isAlive(left.entry().vm())) {
        throw new Refusal(
            "an earlier migration to this QEMU was not finished (%s)".formatted(left.journal()),
            "finish it with dest-agent resume");
      }
    }
  }

  /**
   * The journal of a migration, where there is one.
   *
   * @throws Refusal where there is one that cannot be read
   */
  static Optional<Journal<DestinationEntry>> of(UUID session, Path stateFolder) {
    return Journal.named(
        stateFolder, session.toString(), DestinationEntry.KIND, DestinationEntry.class);
  }

  /** Whether another migration knows the same QEMU. */
  static boolean hasAnother(UUID session, VmIdentity vm, Path stateFolder) {
    return in(stateFolder).stream()
        .map(Journal.Found::entry)
        .anyMatch(
            other ->
                !other.session().equals(session)
                    && other.vm().pid() == vm.pid()
                    && other.vm().startTicks() == vm.startTicks());
  }
}
