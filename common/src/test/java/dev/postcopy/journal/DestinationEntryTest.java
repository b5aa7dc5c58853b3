package dev.postcopy.journal;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.qmp.QemuSettings;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DestinationEntryTest {

  private static final DestinationEntry ENTRY =
      new DestinationEntry(
          new UUID(1, 2),
          DestinationEntry.State.LOADING,
          0,
          new VmIdentity(7, 99, "/run/vms/vm1", List.of()),
          -1,
          false,
          new QemuSettings(Set.of("xbzrle"), 1 << 20, true));

  @TempDir private Path folder;

  /** An agent that takes the migration up sets QEMU as it was before. */
  @Test
  void nothingIsForgottenOnTheWayToTheDiskAndBack() {
    DestinationEntry last =
        ENTRY.withUserfaultfd(17).withAttempt(3).committed(true).in(DestinationEntry.State.RUNNING);
    try (Journal<DestinationEntry> journal =
        Journal.create(folder, "m", DestinationEntry.KIND, DestinationEntry.class)) {
      journal.write(ENTRY);
      journal.write(last);
      assertThat(journal.read()).isEqualTo(last);
      assertThat(journal.read().settingsBefore()).isEqualTo(ENTRY.settings());
    }
  }

  /** A package is updated while guests move. */
  @Test
  void theJournalOfAnAgentThatDidNotKeepTheSettingsHasQemusDefaults() throws IOException {
    try (Journal<DestinationEntry> journal =
        Journal.create(folder, "m", DestinationEntry.KIND, DestinationEntry.class)) {
      journal.write(ENTRY);
      Path file = folder.resolve("m." + DestinationEntry.KIND);
      String line = Files.readString(file);
      Files.writeString(file, line.replaceAll(",\"settings\":\\{[^}]*\\}", ""));
      assertThat(Files.readString(file)).isNotEqualTo(line);
      assertThat(journal.read().settingsBefore()).isEqualTo(QemuSettings.DEFAULTS);
    }
  }
}
