package dev.postcopy.it;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.List;
import java.util.function.BiConsumer;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.Parameter;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * What becomes of the guest when a host fails the agents: a disk or a memory that is full, a RAM
 * file that somebody shortens or writes to, a QEMU or an address that is not what it was. Each has
 * an end that is told.
 */
@ParameterizedClass
@MethodSource("dev.postcopy.it.TestEnvironment#qemuVersions")
final class HostFailureIT {

  private static final Duration TIMEOUT = Duration.ofSeconds(60);
  private static final String WRITER = "has mapped the guest's RAM file to write to it";

  private static final int MEMORY_MIB = 64;

  @Parameter private String version = "";

  @BeforeAll
  static void requireRoot() {
    TestEnvironment.get().requireRoot();
  }

  private QemuProcess boot() {
    return BootSectorGuest.boot(version, MEMORY_MIB);
  }

  /** A state folder that a test can fill. */
  private static String[] stateIn(SmallTmpfs tmpfs) {
    return new String[] {"--state-dir", tmpfs.folder().toString()};
  }

  @Test
  void aStateFolderWithoutRoomIsRefusedBeforeAnythingIsTouched() {
    try (SmallTmpfs state = SmallTmpfs.mount(64);
        QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      state.fill();
      try (AgentProcess source = AgentProcess.migrate(from, 9, stateIn(state));
          AgentProcess destination = AgentProcess.receive(to, stateIn(state))) {
        for (AgentProcess agent : List.of(source, destination)) {
          assertThat(agent.awaitExit(TIMEOUT)).as(agent.toString()).isEqualTo(2);
          assertThat(agent.messages().getFirst())
              .contains("cannot write to the state folder")
              .contains("No space left on device")
              .contains("--state-dir");
        }
      }
      assertThat(to.qmp().status()).isEqualTo("inmigrate");
      BootSectorGuest.requireWorks(from);
    }
  }

  /** Not written means not committed, whatever the destination has loaded by then. */
  @Test
  void aCommitThatCannotBeWrittenLeavesTheGuestAtTheSource() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      AgentProcess agent = AgentProcess.receive(to);
      try (FrameProxy proxy = FrameProxy.to(agent.awaitListening()).holdAt(FrameProxy.Type.LOADED);
          Migration migration = Migration.start(from, proxy, agent)) {
        proxy.awaitHeld(migration);
        refuseToGrowFiles(migration.source());
        proxy.release();
        migration.source().requireExit(1, "cannot write the journal");
        migration.destination().requireExit(1, "the guest is at the source");
      }
      BootSectorGuest.requireWorks(from);
    }
  }

  /** The next write to any file fails, at once and for good: the disk is full to the last byte. */
  private static void refuseToGrowFiles(AgentProcess agent) {
    TestEnvironment.run(
        Path.of("/"), 10, "prlimit", "--pid", Long.toString(agent.pid()), "--fsize=1:1");
  }

  /** What is older than the truth leads to the same end, also when it is all that is left. */
  @Test
  void aDiskThatIsFullAfterTheCommitStopsNeitherTheDrainNorAResume() {
    try (SmallTmpfs state = SmallTmpfs.mount(256);
        QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      AgentProcess agent = AgentProcess.receive(to, stateIn(state));
      int port = agent.awaitListening();
      try (FrameProxy proxy = FrameProxy.to(port).holdAt(FrameProxy.Frame::isMidDrain);
          Migration migration =
              new Migration(AgentProcess.migrate(from, proxy.port(), stateIn(state)), agent)) {
        proxy.awaitHeld(migration);
        state.fill();
        refuseToGrowFiles(migration.source());
        refuseToGrowFiles(agent);
        proxy.holdAt(frame -> frame.bulk() && frame.is(FrameProxy.Type.PAGES) && frame.index() > 9);
        proxy.cut();
        migration.source().awaitLog("cannot write the journal");
        migration.source().kill();
        agent.kill();
        proxy.release();
        try (AgentProcess destination = AgentProcess.resumeReceiving(to, port, stateIn(state))) {
          destination.awaitListening();
          try (AgentProcess source =
              AgentProcess.resumeMigrating(from, proxy.port(), stateIn(state))) {
            source.requireCompletes();
            destination.requireCompletes();
          }
        }
      }
      Migration.requireLetGo(from, to);
      BootSectorGuest.requireWorks(to);
    }
  }

  /** The source forgets the guest when it hears it: after a crash nobody could be asked. */
  @Test
  void thatEverythingIsThereIsNotSaidBeforeTheJournalHasIt() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      AgentProcess agent = AgentProcess.receive(to);
      int port = agent.awaitListening();
      try (FrameProxy proxy = FrameProxy.to(port).holdAt(FrameProxy.Frame::isMidDrain);
          Migration migration = Migration.start(from, proxy, agent)) {
        proxy.awaitHeld(migration);
        refuseToGrowFiles(agent);
        proxy.release();
        agent.awaitLog("cannot write the journal");
        agent.kill();
        try (AgentProcess resumed = AgentProcess.resumeReceiving(to, port)) {
          migration.source().requireCompletes();
          resumed.requireCompletes();
        }
      }
      Migration.requireLetGo(from, to);
      BootSectorGuest.requireWorks(to);
    }
  }

  private static void truncate(QemuProcess qemu) {
    try (FileChannel file =
        FileChannel.open(qemu.ramFiles().getFirst(), StandardOpenOption.WRITE)) {
      file.truncate(2L << 20);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** What is lost is not sent as zeros; and it is said that it is lost. */
  @Test
  void aRamFileThatIsTruncatedAtTheSourceAfterTheCommitIsToldAndNothingWrongIsSent() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      AgentProcess agent = AgentProcess.receive(to);
      try (FrameProxy proxy =
              FrameProxy.to(agent.awaitListening()).holdAt(FrameProxy.Frame::isMidDrain);
          Migration migration = Migration.start(from, proxy, agent)) {
        proxy.awaitHeld(migration);
        truncate(from);
        proxy.release();
        migration.source().requireExit(3, "RAM file was truncated");
        migration.destination().requireExit(3, "RAM file was truncated");
      }
      assertThat(Migration.userfaultfds(to)).as("who waits goes on waiting").hasSize(1);
      assertThat(to.isAlive()).isTrue();
    }
  }

  /** The guest cannot live on without it: QEMU's next access of what is gone ends it (SIGBUS). */
  @Test
  void aRamFileThatIsTruncatedAtTheSourceBeforeTheCommitEndsTheMigrationThere() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      AgentProcess agent = AgentProcess.receive(to);
      try (FrameProxy proxy = FrameProxy.to(agent.awaitListening()).holdAt(FrameProxy.Type.READY);
          Migration migration = Migration.start(from, proxy, agent)) {
        proxy.awaitHeld(migration);
        truncate(from);
        from.awaitExit(TIMEOUT);
        proxy.release();
        migration.source().requireExit(1, "QEMU at the source is gone");
        migration.destination().requireExit(1, "");
      }
    }
  }

  @Test
  void aRamFileThatIsTruncatedAtTheDestinationIsToldAtBothSides() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      AgentProcess agent = AgentProcess.receive(to);
      try (FrameProxy proxy =
              FrameProxy.to(agent.awaitListening()).holdAt(FrameProxy.Frame::isMidDrain);
          Migration migration = Migration.start(from, proxy, agent)) {
        proxy.awaitHeld(migration);
        truncate(to);
        proxy.release();
        migration.destination().requireExit(3, "");
        migration.source().requireExit(3, "the destination gave up");
      }
    }
  }

  /** The pages that have no room are asked for again until they have. */
  @Test
  void aMemoryThatIsFullAtTheDestinationIsWaitedForAfterTheCommit() {
    try (SmallTmpfs memory = SmallTmpfs.mount(8 * 1024);
        QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").ramFolder(memory.folder()).start();
        Migration migration = Migration.start(from, to)) {
      migration.destination().awaitLog("the tmpfs of the guest's RAM is full");
      migration.source().awaitLog("trying again");
      assertThat(to.qmp().events())
          .as("the guest is there")
          .anyMatch(e -> e.name().equals("RESUME"));
      memory.resize(2 * MEMORY_MIB * 1024);
      migration.source().requireCompletes();
      migration.destination().requireCompletes();
      Migration.requireLetGo(from, to);
      BootSectorGuest.requireWorks(to);
    }
  }

  @Test
  void aMemoryThatIsFullAtTheDestinationBeforeTheCommitLeavesTheGuestAtTheSource() {
    try (SmallTmpfs memory = SmallTmpfs.mount(4);
        QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").ramFolder(memory.folder()).start();
        Migration migration = Migration.start(from, to)) {
      migration.source().requireExit(1, "the guest is at the source as before");
      migration.destination().requireExit(1, "the tmpfs of the guest's RAM is full");
      BootSectorGuest.requireWorks(from);
    }
  }

  /** Whoever listens there instead for a while is asked again, not believed at once. */
  @Test
  void anotherAgentAtTheDestinationsAddressDoesNotEndTheDrain() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start();
        QemuProcess other = from.incomingTwin("other").start()) {
      AgentProcess agent = AgentProcess.receive(to);
      int port = agent.awaitListening();
      try (FrameProxy proxy = FrameProxy.to(port).holdAt(FrameProxy.Frame::isMidDrain);
          Migration migration = Migration.start(from, proxy, agent)) {
        proxy.awaitHeld(migration);
        agent.kill();
        try (AgentProcess stranger = AgentProcess.receiveAt(other.agentQmp(), port)) {
          stranger.awaitListening();
          proxy.cut();
          proxy.release();
          migration
              .source()
              .awaitLog(
                  "refuses: the agent of this migration has ended, and this one is of another; trying");
        }
        try (AgentProcess destination = AgentProcess.resumeReceiving(to, port)) {
          destination.requireCompletes();
          migration.source().requireCompletes();
        }
      }
      Migration.requireLetGo(from, to);
      BootSectorGuest.requireWorks(to);
    }
  }

  /** One of them would read the other's memory. */
  @Test
  void aGuestWhoseRamSomebodyElseWritesToIsRefused() {
    try (QemuProcess from = boot();
        Arena arena = Arena.ofConfined()) {
      mapWritable(from, arena);
      try (AgentProcess agent = AgentProcess.migrate(from, 9)) {
        assertThat(agent.awaitExit(TIMEOUT)).as(agent.toString()).isEqualTo(2);
        assertThat(agent.messages().getFirst())
            .contains(ProcessHandle.current().pid() + " may write to the guest's RAM too");
      }
      BootSectorGuest.requireWorks(from);
    }
  }

  /** What it writes would be sent as the guest's. */
  @Test
  void whoWritesToTheRamFileOfACommittedGuestEndsTheDrain() {
    requireEndsTheDrain(proxy -> proxy, HostFailureIT::mapWritable, WRITER);
  }

  /** Its connection ends, as where the destination has read it, and it was not. */
  @Test
  void aLastWordThatIsLostWithItsConnectionIsSaidAgain() {
    requireEndsTheDrain(
        proxy -> proxy.loseOnce(FrameProxy.Type.ABORT), HostFailureIT::mapWritable, WRITER);
  }

  /** By an operator's hand: from there on it is not the guest that was stopped. */
  @Test
  void aGuestThatIsSetGoingAtTheSourceEndsTheDrain() {
    requireEndsTheDrain(
        proxy -> proxy, (from, arena) -> from.qmp().execute("cont"), "runs at the source again");
  }

  private void requireEndsTheDrain(
      UnaryOperator<FrameProxy> between, BiConsumer<QemuProcess, Arena> atSource, String reason) {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start();
        Arena arena = Arena.ofConfined()) {
      AgentProcess agent = AgentProcess.receive(to);
      try (FrameProxy proxy =
              between.apply(
                  FrameProxy.to(agent.awaitListening()).holdAt(FrameProxy.Frame::isMidDrain));
          Migration migration = Migration.start(from, proxy, agent)) {
        proxy.awaitHeld(migration);
        atSource.accept(from, arena);
        migration.source().requireExit(3, reason);
        proxy.release();
        migration.destination().requireExit(3, reason);
      }
    }
  }

  /** It was to come behind every other connection, and nobody has answered it. */
  @Test
  void whoeverTakesADrainUpComesBehindALastWordThatWasLost() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      AgentProcess agent = AgentProcess.receive(to);
      try (FrameProxy proxy =
              FrameProxy.to(agent.awaitListening())
                  .holdAt(FrameProxy.Frame::isMidDrain)
                  .loseEach(FrameProxy.Type.ABORT);
          Migration migration = Migration.start(from, proxy, agent)) {
        try (Arena arena = Arena.ofConfined()) {
          proxy.awaitHeld(migration);
          mapWritable(from, arena);
          migration.source().requireExit(3, WRITER);
        }
        proxy.release();
        try (AgentProcess resumed = AgentProcess.resumeMigrating(from, proxy.port())) {
          assertThat(List.of(resumed.awaitExit(TIMEOUT), agent.awaitExit(TIMEOUT)))
              .as("%s; %s", resumed, agent)
              .containsExactly(0, 0);
        }
        BootSectorGuest.requireWorks(to);
      }
    }
  }

  /** The guest has all of its pages by then, and whether they are its own nobody knows. */
  @Test
  void aWriterThatIsFoundWhenEverythingIsThereIsToldAtBothSides() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start();
        Arena arena = Arena.ofConfined()) {
      AgentProcess agent = AgentProcess.receive(to);
      try (FrameProxy proxy =
              FrameProxy.to(agent.awaitListening()).holdAt(FrameProxy.Type.COMPLETE);
          Migration migration = Migration.start(from, proxy, agent)) {
        proxy.awaitHeld(migration);
        mapWritable(from, arena);
        migration.source().requireExit(3, WRITER);
        migration.destination().requireExit(3, WRITER);
      }
      Migration.requireLetGo(from, to);
      assertThat(AgentProcess.journals(to)).as("nothing is left to be done there").isEmpty();
      BootSectorGuest.requireWorks(to);
    }
  }

  /** As a second QEMU does that is started on the same file. */
  private static void mapWritable(QemuProcess qemu, Arena arena) {
    try (FileChannel file =
        FileChannel.open(
            qemu.ramFiles().getFirst(), StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      file.map(FileChannel.MapMode.READ_WRITE, 0, 4096, arena);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A destination that lost its agent and its QEMU when it did not know whose the guest is. */
  @Test
  void aDestinationWithoutQemuIsToldThatTheGuestStayedAtTheSource() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      AgentProcess agent = AgentProcess.receive(to);
      int port = agent.awaitListening();
      try (FrameProxy proxy = FrameProxy.to(port).holdAt(FrameProxy.Type.LOADED);
          Migration migration = Migration.start(from, proxy, agent)) {
        proxy.awaitHeld(migration);
        migration.source().kill();
        agent.kill();
        to.kill();
        proxy.cut();
        proxy.release();
        try (AgentProcess destination = AgentProcess.resumeReceiving(to, port)) {
          destination.awaitListening();
          try (AgentProcess source = AgentProcess.resumeMigrating(from, proxy.port())) {
            source.requireExit(1, "the guest is at the source as before");
          }
          destination.requireExit(1, "the guest is at the source");
        }
      }
      BootSectorGuest.requireWorks(from);
      assertThat(AgentProcess.journals(from)).as("journals of the source").isEmpty();
      assertThat(AgentProcess.journals(to)).as("journals of the destination").isEmpty();
    }
  }

  /** And when it was the destination's: nobody can run it, and both sides say so and end. */
  @Test
  void aDestinationWithoutQemuTellsASourceThatHasCommitted() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      AgentProcess agent = AgentProcess.receive(to);
      int port = agent.awaitListening();
      try (FrameProxy proxy = FrameProxy.to(port).holdAt(FrameProxy.Type.COMMIT);
          Migration migration = Migration.start(from, proxy, agent)) {
        proxy.awaitHeld(migration);
        agent.kill();
        to.kill();
        proxy.cut();
        proxy.release();
        try (AgentProcess destination = AgentProcess.resumeReceiving(to, port)) {
          migration.source().requireExit(3, "QEMU at the destination is gone");
          destination.requireExit(3, "QEMU at the destination is gone");
        }
      }
      assertThat(from.qmp().status()).as("what is left").isEqualTo("postmigrate");
    }
  }
}
