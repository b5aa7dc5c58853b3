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
import java.util.function.Predicate;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.Parameter;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What becomes of the guest when a host fails the agents: a disk or a memory that is full, a RAM
 * file that somebody shortens or writes to, a process that stands still. Each has an end that is
 * told.
 */
@ParameterizedClass
@MethodSource("dev.postcopy.it.TestEnvironment#qemuVersions")
final class HostFailureIT {

  private static final Duration TIMEOUT = Duration.ofSeconds(60);

  /** Longer than every patience of both agents, but for that with a destination in doubt. */
  private static final Duration LONG_STANDSTILL = Duration.ofSeconds(60);

  private static final int MEMORY_MIB = 64;
  private static final int WORK_END_MIB = 32;

  @Parameter private String version = "";

  @BeforeAll
  static void requireRoot() {
    TestEnvironment.get().requireRoot();
  }

  private QemuProcess boot() {
    QemuProcess qemu =
        QemuProcess.builder("source")
            .version(version)
            .memoryMib(MEMORY_MIB)
            .bootSector(WORK_END_MIB)
            .start();
    BootSectorGuest.on(qemu, WORK_END_MIB).awaitRounds(2, TIMEOUT);
    return qemu;
  }

  /** The guest works there, and each of its pages is right. */
  private static void requireWorks(QemuProcess qemu) {
    BootSectorGuest guest = BootSectorGuest.on(qemu, WORK_END_MIB);
    guest.awaitRounds(2, TIMEOUT);
    qemu.qmp().execute("stop");
    guest.requireOneStep();
    qemu.qmp().execute("cont");
  }

  private static boolean isMidDrain(FrameProxy.Frame frame) {
    return frame.bulk() && frame.is(FrameProxy.Type.PAGES) && frame.index() == 200;
  }

  private static void requireExit(AgentProcess agent, int code, String words) {
    assertThat(agent.awaitExit(TIMEOUT)).as(agent.toString()).isEqualTo(code);
    assertThat(agent.report().path("reason").asString()).as(agent.toString()).contains(words);
  }

  private static void requireCompletes(AgentProcess agent) {
    assertThat(agent.awaitExit(TIMEOUT)).as(agent.toString()).isZero();
    assertThat(agent.report().path("status").asString()).isEqualTo("completed");
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
      requireWorks(from);
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
        requireExit(migration.source(), 1, "cannot write the journal");
        requireExit(migration.destination(), 1, "the guest is at the source");
      }
      requireWorks(from);
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
      try (FrameProxy proxy = FrameProxy.to(port).holdAt(HostFailureIT::isMidDrain);
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
            requireCompletes(source);
            requireCompletes(destination);
          }
        }
      }
      Migration.requireLetGo(from, to);
      requireWorks(to);
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
              FrameProxy.to(agent.awaitListening()).holdAt(HostFailureIT::isMidDrain);
          Migration migration = Migration.start(from, proxy, agent)) {
        proxy.awaitHeld(migration);
        truncate(from);
        proxy.release();
        requireExit(migration.source(), 3, "RAM file was truncated");
        requireExit(migration.destination(), 3, "RAM file was truncated");
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
        requireExit(migration.source(), 1, "QEMU at the source is gone");
        requireExit(migration.destination(), 1, "");
      }
    }
  }

  @Test
  void aRamFileThatIsTruncatedAtTheDestinationIsToldAtBothSides() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      AgentProcess agent = AgentProcess.receive(to);
      try (FrameProxy proxy =
              FrameProxy.to(agent.awaitListening()).holdAt(HostFailureIT::isMidDrain);
          Migration migration = Migration.start(from, proxy, agent)) {
        proxy.awaitHeld(migration);
        truncate(to);
        proxy.release();
        requireExit(migration.destination(), 3, "");
        requireExit(migration.source(), 3, "the destination gave up");
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
      requireCompletes(migration.source());
      requireCompletes(migration.destination());
      Migration.requireLetGo(from, to);
      requireWorks(to);
    }
  }

  @Test
  void aMemoryThatIsFullAtTheDestinationBeforeTheCommitLeavesTheGuestAtTheSource() {
    try (SmallTmpfs memory = SmallTmpfs.mount(4);
        QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").ramFolder(memory.folder()).start();
        Migration migration = Migration.start(from, to)) {
      requireExit(migration.source(), 1, "the guest is at the source as before");
      requireExit(migration.destination(), 1, "the tmpfs of the guest's RAM is full");
      requireWorks(from);
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void anAgentThatStandsStillForASecondInTheDrainGoesOnWhereItWas(boolean ofSource) {
    try (Standstill standstill = begin(ofSource, HostFailureIT::isMidDrain)) {
      QmpProbe.sleep(Duration.ofSeconds(1));
      standstill.end();
      standstill.requireGuestAtDestination();
    }
  }

  /** An agent that is stopped at a moment of a migration of its own, and let go on later. */
  private record Standstill(
      QemuProcess from, QemuProcess to, FrameProxy proxy, Migration migration, boolean ofSource)
      implements AutoCloseable {

    private AgentProcess agent() {
      return ofSource ? migration.source() : migration.destination();
    }

    void end() {
      agent().thaw();
    }

    void requireGuestAtDestination() {
      requireCompletes(migration.source());
      requireCompletes(migration.destination());
      Migration.requireLetGo(from, to);
      requireWorks(to);
    }

    void requireGuestAtSource() {
      requireExit(migration.source(), 1, "the guest is at the source as before");
      if (migration.source().messages().getFirst().contains("source-agent resume tells it")) {
        try (AgentProcess teller = AgentProcess.resumeMigrating(from, proxy.port())) {
          requireExit(teller, 1, "the guest is at the source as before");
        }
      }
      requireExit(migration.destination(), 1, "");
      to.awaitExit(TIMEOUT);
      requireWorks(from);
    }

    @Override
    public void close() {
      migration.close();
      proxy.close();
      to.close();
      from.close();
    }
  }

  /** What was on its way arrives, if not at the one that stands still. */
  private Standstill begin(boolean ofSource, Predicate<FrameProxy.Frame> moment) {
    QemuProcess from = boot();
    QemuProcess to = from.incomingTwin("destination").start();
    AgentProcess agent = AgentProcess.receive(to);
    FrameProxy proxy = FrameProxy.to(agent.awaitListening()).holdAt(moment);
    Migration migration = Migration.start(from, proxy, agent);
    Standstill begun = new Standstill(from, to, proxy, migration, ofSource);
    proxy.awaitHeld(migration);
    begun.agent().freeze();
    proxy.release();
    return begun;
  }

  /** All at the same time, each with a guest of its own. */
  @Test
  void anAgentThatStandsStillForAMinuteHasTheGuestWhereTheCommitSays() {
    try (Standstill sourceBefore = begin(true, frame -> frame.is(FrameProxy.Type.LOADED));
        // Not at the end of the device state: QEMU may have loaded it before it hears of that.
        Standstill destinationBefore =
            begin(false, frame -> frame.is(FrameProxy.Type.DEVICE_STATE));
        Standstill sourceAt = begin(true, frame -> frame.is(FrameProxy.Type.COMMIT));
        Standstill destinationAt = begin(false, frame -> frame.is(FrameProxy.Type.COMMIT));
        Standstill sourceBehind = begin(true, HostFailureIT::isMidDrain);
        Standstill destinationBehind = begin(false, HostFailureIT::isMidDrain)) {
      QmpProbe.sleep(LONG_STANDSTILL);
      assertThat(destinationBefore.from().qmp().status())
          .as("the guest, which has not waited for the destination")
          .isEqualTo("running");
      List<Standstill> committed =
          List.of(sourceAt, destinationAt, sourceBehind, destinationBehind);
      List.of(sourceBefore, destinationBefore).forEach(Standstill::end);
      committed.forEach(Standstill::end);

      sourceBefore.requireGuestAtSource();
      destinationBefore.requireGuestAtSource();
      committed.forEach(Standstill::requireGuestAtDestination);
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
      try (FrameProxy proxy = FrameProxy.to(port).holdAt(HostFailureIT::isMidDrain);
          Migration migration = Migration.start(from, proxy, agent)) {
        proxy.awaitHeld(migration);
        agent.kill();
        try (AgentProcess stranger = AgentProcess.receiveAt(other.agentQmp(), port)) {
          stranger.awaitListening();
          proxy.cut();
          proxy.release();
          migration.source().awaitLog("refuses: nothing is known of this migration here; trying");
        }
        try (AgentProcess destination = AgentProcess.resumeReceiving(to, port)) {
          requireCompletes(destination);
          requireCompletes(migration.source());
        }
      }
      Migration.requireLetGo(from, to);
      requireWorks(to);
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
      requireWorks(from);
    }
  }

  /** What it writes would be sent as the guest's. */
  @Test
  void whoWritesToTheRamFileOfACommittedGuestEndsTheDrain() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start();
        Arena arena = Arena.ofConfined()) {
      AgentProcess agent = AgentProcess.receive(to);
      try (FrameProxy proxy =
              FrameProxy.to(agent.awaitListening()).holdAt(HostFailureIT::isMidDrain);
          Migration migration = Migration.start(from, proxy, agent)) {
        proxy.awaitHeld(migration);
        mapWritable(from, arena);
        requireExit(migration.source(), 3, "has mapped the guest's RAM file to write to it");
        proxy.release();
        requireExit(migration.destination(), 3, "has mapped the guest's RAM file to write to it");
      }
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
            requireExit(source, 1, "the guest is at the source as before");
          }
          requireExit(destination, 1, "the guest is at the source");
        }
      }
      requireWorks(from);
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
          requireExit(migration.source(), 3, "QEMU at the destination is gone");
          requireExit(destination, 3, "QEMU at the destination is gone");
        }
      }
      assertThat(from.qmp().status()).as("what is left").isEqualTo("postmigrate");
    }
  }
}
