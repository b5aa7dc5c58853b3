package dev.postcopy.journal;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SourceEntryTest {

  private static final SourceEntry ENTRY =
      new SourceEntry(
          new UUID(1, 2),
          SourceEntry.State.SWITCHING_OVER,
          0,
          new VmIdentity(7, 99, "/run/vms/vm1", List.of()),
          "vm1",
          "there:7000",
          true,
          Set.of("xbzrle"),
          1 << 20,
          true,
          5_000_000);

  @TempDir private Path folder;

  @Test
  void nothingIsForgottenOnTheWayToTheDiskAndBack() {
    SourceEntry last =
        ENTRY.in(SourceEntry.State.COMMITTED).withAttempt(3).running(false).limitedTo(1_000_000);
    try (Journal<SourceEntry> journal =
        Journal.create(folder, "m", SourceEntry.KIND, SourceEntry.class)) {
      journal.write(ENTRY);
      journal.write(last);
      assertThat(journal.read()).isEqualTo(last);
    }
  }

  /** A package is updated while guests move. */
  @Test
  void theJournalOfAnAgentThatDidNotKeepTheLimitHasNone() throws IOException {
    try (Journal<SourceEntry> journal =
        Journal.create(folder, "m", SourceEntry.KIND, SourceEntry.class)) {
      journal.write(ENTRY);
      Path file = folder.resolve("m." + SourceEntry.KIND);
      String line = Files.readString(file);
      Files.writeString(file, line.replace(",\"maxBulkBytesPerSecond\":5000000", ""));
      assertThat(Files.readString(file)).isNotEqualTo(line);
      assertThat(journal.read()).isEqualTo(ENTRY.limitedTo(Long.MAX_VALUE));
    }
  }
}
