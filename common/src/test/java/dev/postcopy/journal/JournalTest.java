package dev.postcopy.journal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.Refusal;
import java.io.IOException;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class JournalTest {

  private record Step(String name, int number) {}

  @TempDir private Path folder;

  private Journal<Step> create() {
    return Journal.create(folder, "a-migration", "step", Step.class);
  }

  @Test
  void tellsAnotherProcessTheLastEntryThatWasWritten() {
    try (Journal<Step> journal = create()) {
      journal.write(new Step("switching over", 1));
      journal.write(new Step("committed", 2));
    }
    List<Journal<Step>> found = Journal.find(folder, "step", Step.class);
    assertThat(found).as("journals that can be taken up").hasSize(1);
    assertThat(found.getFirst().read()).isEqualTo(new Step("committed", 2));
  }

  @Test
  void anEntryThatACrashCutOffLeavesTheOneBefore() throws IOException {
    try (Journal<Step> journal = create()) {
      journal.write(new Step("switching over", 1));
    }
    Path file = folder.resolve("a-migration.step");
    Files.writeString(file, "{\"name\":\"comm", StandardOpenOption.APPEND);
    Journal<Step> again = Journal.find(folder, "step", Step.class).getFirst();
    assertThat(again.read()).as("the entry that counts").isEqualTo(new Step("switching over", 1));

    again.takeUp();
    again.write(new Step("aborted", 3));
    assertThat(again.read()).as("written over the torn one").isEqualTo(new Step("aborted", 3));
    again.close();
  }

  @Test
  void oneMigrationIsTakenUpByOneAgent() {
    try (Journal<Step> journal = create()) {
      journal.write(new Step("committed", 1));
      // The lock is the process's (fcntl(2)); within one, Java itself refuses.
      assertThatThrownBy(() -> Journal.find(folder, "step", Step.class).getFirst().takeUp())
          .isInstanceOfAny(Refusal.class, OverlappingFileLockException.class);
    }
  }

  @Test
  void nothingIsLeftOfAMigrationThatHasEnded() throws IOException {
    try (Journal<Step> journal = create()) {
      journal.write(new Step("committed", 1));
      journal.remove();
    }
    try (var files = Files.list(folder)) {
      assertThat(files).as("files in the state folder").isEmpty();
    }
  }

  @Test
  void aFileThatIsNoJournalIsLeftOut() throws IOException {
    Files.writeString(folder.resolve("x.step"), "not a journal\n");
    Files.writeString(folder.resolve("y.step"), "");
    assertThat(Journal.find(folder, "step", Step.class)).isEmpty();
  }

  @Test
  void aFolderThatCannotBeMadeIsRefusedWithTheOptionThatNamesAnother() throws IOException {
    Path file = Files.writeString(folder.resolve("file"), "");
    assertThatThrownBy(() -> Journal.requireWritable(file.resolve("below")))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining("--state-dir");
  }
}
