package dev.postcopy.source.session;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.Refusal;
import dev.postcopy.journal.Journal;
import dev.postcopy.journal.SourceEntry;
import dev.postcopy.journal.VmIdentity;
import dev.postcopy.linux.ProcessStart;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import org.junit.jupiter.api.RepeatedTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Which of several migrations that were left behind is taken up. */
class ResumeSessionTest {

  private static final int PID = (int) ProcessHandle.current().pid();
  private static final Path SOCKET = Path.of("/run/vms/web");

  @TempDir private Path folder;

  /** An agent that died left this of a QEMU, for which this process stands where it is alive. */
  private UUID leave(SourceEntry.State state, Path qmpSocket, boolean alive) {
    UUID session = UUID.randomUUID();
    SourceEntry entry =
        new SourceEntry(
            session,
            state,
            0,
            new VmIdentity(
                PID, ProcessStart.ticks(PID) - (alive ? 0 : 1), qmpSocket.toString(), List.of()),
            "",
            "there:7000",
            true,
            Set.of(),
            0,
            false,
            0);
    try (Journal<SourceEntry> journal =
        Journal.create(folder, session.toString(), SourceEntry.KIND, SourceEntry.class)) {
      journal.write(entry);
    }
    return session;
  }

  private UUID chosen(Optional<Path> qmpSocket) {
    return ResumeSession.choose(folder, qmpSocket).read().session();
  }

  /** The order of files in a folder is by their names, which are made at random. */
  @RepeatedTest(8)
  void aGuestThatStandsStillComesBeforeWordsThatAreLeftToBeSaidOfIt() {
    leave(SourceEntry.State.ABORTED, SOCKET, true);
    UUID waitedFor = leave(SourceEntry.State.SWITCHING_OVER, SOCKET, true);
    leave(SourceEntry.State.ABORTED, SOCKET, true);
    assertThat(chosen(Optional.of(SOCKET))).isEqualTo(waitedFor);
    assertThat(chosen(Optional.empty())).isEqualTo(waitedFor);
  }

  @RepeatedTest(8)
  void aQemuThatIsThereComesBeforeOneThatHadItsSocket() {
    leave(SourceEntry.State.COMMITTED, SOCKET, false);
    UUID ofOneThatIsThere = leave(SourceEntry.State.ABORTED, SOCKET, true);
    assertThat(chosen(Optional.of(SOCKET))).isEqualTo(ofOneThatIsThere);
  }

  @Test
  void ofTwoQemusOneHasToBeNamed() {
    UUID web = leave(SourceEntry.State.COMMITTED, SOCKET, true);
    leave(SourceEntry.State.COMMITTED, Path.of("/run/vms/mail"), true);
    assertThatThrownBy(() -> ResumeSession.choose(folder, Optional.empty()))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining("2 migrations")
        .hasMessageContaining("--qmp");
    assertThat(chosen(Optional.of(SOCKET))).isEqualTo(web);
  }
}
