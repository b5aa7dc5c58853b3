package dev.postcopy.journal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.Refusal;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class JournalTest {

  private record Step(String name, int number) {}

  @TempDir private Path folder;
  private @Nullable ServerSocketChannel alive;

  private Journal<Step> create() {
    return Journal.create(folder, "a-migration", "step", Step.class);
  }

  @Test
  void tellsAnotherProcessTheLastEntryThatWasWritten() {
    try (Journal<Step> journal = create()) {
      journal.write(new Step("switching over", 1));
      journal.write(new Step("committed", 2));
    }
    List<Journal.Found<Step>> found = Journal.find(folder, "step", Step.class);
    assertThat(found).as("journals that can be taken up").hasSize(1);
    assertThat(found.getFirst().entry()).isEqualTo(new Step("committed", 2));
    assertThat(found.getFirst().journal().read()).isEqualTo(new Step("committed", 2));
  }

  /** Whoever looks for the journal of one migration finds those of others that are at their end. */
  @Test
  void aJournalThatIsGoneSinceItWasFoundStillSaysWhatItHeld() {
    try (Journal<Step> journal = create()) {
      journal.write(new Step("committed", 1));
      Journal.Found<Step> found = Journal.find(folder, "step", Step.class).getFirst();
      journal.remove();
      assertThat(found.entry()).isEqualTo(new Step("committed", 1));
    }
    assertThat(Journal.find(folder, "step", Step.class)).isEmpty();
  }

  /** What a crash cut off at its first word is of a migration that had not begun. */
  @Test
  void oneThatCannotBeReadIsToldFromNone() throws IOException {
    Path file = folder.resolve("a-migration.step");
    assertThat(Journal.named(folder, "a-migration", "step", Step.class)).isEmpty();
    Files.writeString(file, "{\"name\":\"beg");
    assertThat(Journal.named(folder, "a-migration", "step", Step.class)).isEmpty();

    Files.writeString(file, "neither\n");

    assertThatThrownBy(() -> Journal.named(folder, "a-migration", "step", Step.class))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining(file + " cannot be read");
  }

  @Test
  void anEntryThatACrashCutOffLeavesTheOneBefore() throws IOException {
    try (Journal<Step> journal = create()) {
      journal.write(new Step("switching over", 1));
    }
    Path file = folder.resolve("a-migration.step");
    Files.writeString(file, "{\"name\":\"comm", StandardOpenOption.APPEND);
    Journal<Step> again = Journal.find(folder, "step", Step.class).getFirst().journal();
    assertThat(again.read()).as("the entry that counts").isEqualTo(new Step("switching over", 1));

    again.takeUp();
    again.write(new Step("aborted", 3));
    assertThat(again.read()).as("written over the torn one").isEqualTo(new Step("aborted", 3));
    again.close();
  }

  /** A device takes what is written, and has no end to cut off. */
  @Test
  void whatCouldNotBeOpenedHalfWayIsOpenedAnew() throws IOException {
    Path file = folder.resolve("a-migration.step");
    try (Journal<Step> journal = create()) {
      Files.createSymbolicLink(file, Path.of("/dev/null"));
      assertThatThrownBy(() -> journal.write(new Step("switching over", 1)))
          .hasMessageContaining("cannot write the journal");
      Files.delete(file);
      journal.write(new Step("committed", 2));
    }
    assertThat(Journal.find(folder, "step", Step.class))
        .as("journals with an entry that was written behind one that failed")
        .singleElement()
        .extracting(Journal.Found::entry)
        .isEqualTo(new Step("committed", 2));
  }

  @Test
  void oneMigrationIsTakenUpByOneAgent() {
    try (Journal<Step> journal = create()) {
      journal.write(new Step("committed", 1));
      assertThatThrownBy(
              () -> Journal.find(folder, "step", Step.class).getFirst().journal().takeUp())
          .isInstanceOf(Refusal.class)
          .hasMessageContaining("another agent is at work");
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

  private List<String> files() throws IOException {
    try (var files = Files.list(folder)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    }
  }

  @Test
  void aLockWithoutAJournalIsRemovedAndOneWithAJournalStays() throws IOException {
    Files.writeString(folder.resolve("killed-early.step.lock"), "");
    Files.writeString(folder.resolve("killed-late.step.lock"), "");
    Files.writeString(folder.resolve("killed-late.step"), "{}\n");
    Files.writeString(folder.resolve("probe-1.probe"), "");

    Journal.requireWritable(folder);

    assertThat(files()).containsExactly("killed-late.step", "killed-late.step.lock");
  }

  @Test
  void aSocketThatNobodyListensOnIsRemovedAndAnotherStays() throws IOException {
    for (String name : List.of("dead.control", "alive.control")) {
      ServerSocketChannel listening =
          ServerSocketChannel.open(StandardProtocolFamily.UNIX)
              .bind(UnixDomainSocketAddress.of(folder.resolve(name)));
      if (name.startsWith("dead")) {
        listening.close();
      } else {
        alive = listening;
      }
    }

    Journal.requireWritable(folder);

    assertThat(files()).containsExactly("alive.control");
  }

  @Test
  void theHiddenFolderOfADeadProcessIsRemovedAndThatOfALivingOneStays() throws Exception {
    Process dead = new ProcessBuilder("true").start();
    dead.waitFor();
    Path left = Files.createDirectory(folder.resolve(Litter.hiddenPrefix(dead.pid()) + "123"));
    Files.createFile(left.resolve("socket"));
    Path own = Journal.hiddenFolder(folder);

    Journal.requireWritable(folder);

    assertThat(files()).containsExactly(own.getFileName().toString());
  }

  @AfterEach
  void closeSocket() throws IOException {
    if (alive != null) {
      alive.close();
    }
  }

  /** An agent that has begun and written nothing yet has a lock and no journal, as a dead one. */
  @Test
  void theLockOfAnAgentAtWorkStaysAlsoInAnotherProcess() throws Exception {
    Path other = folder.resolve("other.step.lock");
    Process holder = LockHolder.start(other);
    try (Journal<Step> journal = create()) {
      Journal.requireWritable(folder);
      assertThat(files()).containsExactly("a-migration.step.lock", "other.step.lock");
      journal.write(new Step("switching over", 1));
      assertThatThrownBy(
              () -> Journal.find(folder, "step", Step.class).getFirst().journal().takeUp())
          .isInstanceOf(Refusal.class);
    } finally {
      holder.destroyForcibly().waitFor();
    }
    Journal.requireWritable(folder);
    assertThat(files()).as("when it was killed").doesNotContain("other.step.lock");
  }

  /** Many migrations of a host begin at a time, each with a look at the folder and a broom. */
  @Test
  void agentsThatBeginAtATimeDoNotTakeEachOthersProbesForLitter() throws Exception {
    try (ExecutorService agents = Executors.newFixedThreadPool(8)) {
      List<Callable<Void>> beginnings = new ArrayList<>();
      for (int i = 0; i < 400; i++) {
        beginnings.add(
            () -> {
              Journal.requireWritable(folder);
              return null;
            });
      }
      for (Future<Void> beginning : agents.invokeAll(beginnings)) {
        assertThat(beginning)
            .as("a folder that can be written to")
            .succeedsWithin(Duration.ofSeconds(30));
      }
    }
    assertThat(files()).isEmpty();
  }

  @Test
  void whatWasRehearsedIsAnEntryLikeAnyOther() throws IOException {
    try (Journal<Step> journal = create()) {
      journal.writeAndRehearse(new Step("switching over", 1));
      assertThat(journal.read()).isEqualTo(new Step("switching over", 1));
      journal.write(new Step("committed", 2));
      assertThat(journal.read()).isEqualTo(new Step("committed", 2));
    }
    assertThat(folder.resolve("a-migration.step"))
        .as("a small state folder has no room for rehearsals")
        .content()
        .hasLineCount(2);
  }

  /** Nothing was begun: nobody takes that up, and it must not be complained of for ever. */
  @ParameterizedTest
  @ValueSource(strings = {"", "{\"name\":\"switching"})
  void anAgentThatDiedAtItsFirstEntryLeavesNothingForLong(String entry) throws IOException {
    Path left = Files.writeString(folder.resolve("a-migration.step"), entry);
    Path lock = Files.writeString(folder.resolve("a-migration.step.lock"), "");
    Journal.tidy(folder);
    assertThat(left).doesNotExist();
    assertThat(lock).doesNotExist();
  }

  @Test
  void aJournalThatIsBegunIsNotTakenForWhatADeadAgentLeft() throws IOException {
    try (Journal<Step> journal = create()) {
      Path begun = Files.writeString(folder.resolve("a-migration.step"), "");
      Journal.tidy(folder);
      assertThat(begun).exists();
      journal.write(new Step("switching over", 1));
    }
    Journal.tidy(folder);
    assertThat(Journal.find(folder, "step", Step.class)).as("a journal to take up").hasSize(1);
  }

  @Test
  void aFileThatIsNoJournalIsLeftOut() throws IOException {
    Files.writeString(folder.resolve("x.step"), "not a journal\n");
    Files.writeString(folder.resolve("y.step"), "");
    assertThat(Journal.find(folder, "step", Step.class)).isEmpty();
  }

  private Path folderOfPathBytes(int pathBytes) {
    return folder.resolve("x".repeat(pathBytes - (folder + "/").length()));
  }

  @Test
  void aFolderWhoseSocketsCouldNotBeConnectedToIsRefused() throws IOException {
    Path longest = folderOfPathBytes(61);
    Journal.requireWritable(longest);
    Path socket = longest.resolve(UUID.randomUUID() + ".control");
    alive = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
    alive.bind(UnixDomainSocketAddress.of(socket));
    try (SocketChannel client = SocketChannel.open(UnixDomainSocketAddress.of(socket))) {
      assertThat(client.isConnected()).isTrue();
    }

    Path tooLong = folderOfPathBytes(62);
    assertThatThrownBy(() -> Journal.requireWritable(tooLong))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining("longer than the 61 bytes")
        .hasMessageContaining("--state-dir");
    assertThat(tooLong).doesNotExist();
  }

  @Test
  void aFolderThatCannotBeMadeIsRefusedWithTheOptionThatNamesAnother() throws IOException {
    Path file = Files.writeString(folder.resolve("file"), "");
    assertThatThrownBy(() -> Journal.requireWritable(file.resolve("below")))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining("--state-dir");
  }
}
