package dev.postcopy.dest.session;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.Refusal;
import dev.postcopy.journal.DestinationEntry;
import dev.postcopy.journal.DestinationEntry.State;
import dev.postcopy.journal.Journal;
import dev.postcopy.journal.VmIdentity;
import dev.postcopy.linux.ProcessStart;
import java.nio.file.Path;
import java.util.List;
import java.util.UUID;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Which of the journals that were left is about a QEMU that lives, and how far it has come. */
class EarlierMigrationsTest {

  private static final int PID = (int) ProcessHandle.current().pid();

  @TempDir private Path folder;

  private DestinationEntry leave(State state, boolean alive) {
    VmIdentity vm =
        new VmIdentity(PID, ProcessStart.ticks(PID) - (alive ? 0 : 1), "/run/vm.qmp", List.of());
    DestinationEntry entry = new DestinationEntry(UUID.randomUUID(), state, 0, vm, 7, true, null);
    try (Journal<DestinationEntry> journal =
        Journal.create(
            folder, entry.session().toString(), DestinationEntry.KIND, DestinationEntry.class)) {
      journal.write(entry);
    }
    return entry;
  }

  @Test
  void theOneThatHasComeFurthestOfAQemuThatLivesComesFirst() {
    leave(State.COMPLETED, false);
    leave(State.LOADING, true);
    DestinationEntry running = leave(State.RUNNING, true);
    leave(State.LOADED, true);

    assertThat(EarlierMigrations.in(folder))
        .first()
        .extracting(Journal.Found::entry)
        .isEqualTo(running);
    assertThat(EarlierMigrations.in(folder))
        .extracting(left -> left.entry().state())
        .containsExactly(State.RUNNING, State.LOADED, State.LOADING, State.COMPLETED);
  }

  @Test
  void aQemuWithAnUnfinishedMigrationTakesNoOtherIn() {
    leave(State.LOADING, true);

    assertThatThrownBy(() -> EarlierMigrations.requireNoneUnfinished(PID, folder))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining("was not finished")
        .hasMessageContaining("dest-agent resume");
  }

  @Test
  void aPidThatIsUsedAgainIsAnotherQemu() {
    leave(State.RUNNING, false);

    assertThatCode(() -> EarlierMigrations.requireNoneUnfinished(PID, folder))
        .doesNotThrowAnyException();
  }

  @Test
  void anOlderJournalIsKnownToBeOfAQemuThatHasBegunAnotherMigration() {
    DestinationEntry stale = leave(State.LOADING, true);
    assertThat(EarlierMigrations.hasAnother(stale.session(), stale.vm(), folder)).isFalse();

    leave(State.RUNNING, true);

    assertThat(EarlierMigrations.hasAnother(stale.session(), stale.vm(), folder)).isTrue();
  }
}
