package dev.postcopy.it;

import static java.nio.file.StandardOpenOption.CREATE_NEW;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.List;
import java.util.UUID;
import java.util.function.Predicate;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What becomes of the guest when something ends in the middle: before COMMIT it runs on at the
 * source, after COMMIT it is the destination's, and at no time does it see a page that is not its
 * own.
 */
final class FailureIT {

  private static final Duration TIMEOUT = Duration.ofSeconds(60);

  /** Well before a silent peer would be given up: what broke is seen, and not waited for. */
  private static final Duration ROLL_BACK = Duration.ofSeconds(20);

  /** Locked by who does not share writing: RAW_LOCK_SHARED_BASE in QEMU's block/file-posix.c. */
  private static final long QEMU_SHARE_WRITE = 200 + 1;

  /** Where the guest is now: it survives one failed migration after the other. */
  @SuppressWarnings("NullAway.Init") // set before the first test
  private static QemuProcess source;

  private static QemuProcess boot() {
    return guest().start();
  }

  /** One with a disk that only one QEMU may write to. */
  private static QemuProcess boot(Path disk) {
    return guest()
        .arguments("-drive", "if=none,id=locked,format=raw,file.locking=on,file=" + disk)
        .device("virtio-blk-pci,drive=locked")
        .start();
  }

  private static QemuProcess.Builder guest() {
    return QemuProcess.builder("source")
        .memoryMib(160)
        .kernelParameters("pc.mem_mib=32 pc.hot_mib=8 pc.think_us=100")
        .device("virtio-rng-pci");
  }

  @BeforeAll
  static void startGuest() {
    source = boot();
    LinuxGuest.on(source).awaitReady();
  }

  @AfterAll
  static void stopGuest() {
    source.close();
  }

  /** A migration that is held at a frame, on its way from {@link #source}. */
  private record Held(
      QemuProcess destination, AgentProcess agent, int port, FrameProxy proxy, Migration migration)
      implements AutoCloseable {

    static Held at(FrameProxy.Type type) {
      return at(source, type);
    }

    static Held at(QemuProcess source, FrameProxy.Type type) {
      return at(source, frame -> frame.is(type));
    }

    static Held at(QemuProcess source, Predicate<FrameProxy.Frame> which) {
      QemuProcess destination = source.incomingTwin("destination").start();
      AgentProcess agent = AgentProcess.receive(destination, AgentProcess.PATIENT);
      int port = agent.awaitListening();
      FrameProxy proxy = FrameProxy.to(port).holdAt(which);
      Migration migration = Migration.start(source, proxy, agent, AgentProcess.PATIENT);
      Held held = new Held(destination, agent, port, proxy, migration);
      proxy.awaitHeld(migration);
      return held;
    }

    @Override
    public void close() {
      migration.close();
      proxy.close();
      destination.close();
    }
  }

  /** The guest is back where it was, soon, and whole; nobody has said anything else. */
  private static void requireRollsBack(Migration migration, long failedNs) {
    source.qmp().awaitStatus("running", ROLL_BACK);
    assertThat(Duration.ofNanos(System.nanoTime() - failedNs)).isLessThan(ROLL_BACK);
    assertThat(migration.source().awaitExit(TIMEOUT)).as(migration.toString()).isEqualTo(1);
    assertThat(migration.source().messages()).as(migration.toString()).hasSize(1);
    assertThat(migration.source().report().path("status").asString()).isEqualTo("failed");
    Migration.requireContract(migration.source().report());
    Migration.requireUsualSettings(source);
    requireWorks(source);
  }

  private static void requireWorks(QemuProcess qemu) {
    LinuxGuest guest = LinuxGuest.on(qemu);
    LinuxGuest.Heartbeat before = guest.awaitHeartbeat(TIMEOUT);
    guest.awaitWork(before, TIMEOUT);
    LinuxGuest.Verification verification = guest.verify();
    assertThat(verification.ok()).as(verification.text()).isTrue();
  }

  @Test
  void destinationAgentKilledBeforeTheSwitchOver() {
    int stops = source.qmp().count("STOP");
    try (Held held = Held.at(FrameProxy.Type.READY)) {
      held.agent().kill();
      requireSourceFails(held);
      assertThat(source.qmp().count("STOP")).as("the guest was never stopped").isEqualTo(stops);
    }
  }

  /** Without a journal nobody could set QEMU back: until there is one, nothing is set. */
  @Test
  void sourceAgentKilledBeforeItHasAJournalLeavesQemuAsItWas() {
    List<String> journalsBefore = AgentProcess.journals(source);
    try (Held held = Held.at(FrameProxy.Type.READY)) {
      held.migration().source().kill();
      assertThat(AgentProcess.journals(source)).containsExactlyElementsOf(journalsBefore);
      Migration.requireUsualSettings(source);
      held.proxy().cut();
    }
    requireWorks(source);
  }

  /** Cuts last: what is held is lost with the connection, as in a broken network. */
  private static void requireSourceFails(Held held) {
    long failedNs = System.nanoTime();
    held.proxy().cut();
    requireRollsBack(held.migration(), failedNs);
  }

  @Test
  void destinationAgentKilledWhileTheDeviceStateIsLoaded() {
    try (Held held = Held.at(FrameProxy.Type.DEVICE_STATE)) {
      held.agent().kill();
      requireSourceFails(held);
      // Half a device state: QEMU ends by itself, and only the journal is left.
      held.destination().awaitExit(TIMEOUT);
      try (AgentProcess resumed = AgentProcess.resumeReceiving(held.destination(), held.port())) {
        resumed.requireExit(1, "the guest is at the source");
      }
      assertThat(AgentProcess.journals(held.destination())).isEmpty();
    }
  }

  @Test
  void destinationAgentKilledWhenAllIsLoadedAndTheGuestMovesTheNextTime() {
    try (Held held = Held.at(FrameProxy.Type.LOADED)) {
      assertThat(source.qmp().status()).isNotEqualTo("running");
      held.agent().kill();
      requireSourceFails(held);
      assertThat(held.destination().qmp().status()).isNotEqualTo("running");
      // It knows not yet that the source has the guest, and takes no other in before.
      try (AgentProcess another = AgentProcess.receive(held.destination())) {
        another.requireExit(2, "finish it with dest-agent resume");
      }
    }
    QemuProcess next = source.incomingTwin("next").start();
    Migration.complete(source, next);
    source.close();
    source = next;
    requireWorks(source);
  }

  @Test
  void destinationQemuKilledWhileTheDeviceStateIsLoaded() {
    try (Held held = Held.at(FrameProxy.Type.DEVICE_STATE)) {
      long failedNs = System.nanoTime();
      held.destination().kill();
      requireRollsBack(held.migration(), failedNs);
      assertThat(held.agent().awaitExit(TIMEOUT)).as(held.agent().toString()).isEqualTo(1);
      assertThat(held.agent().report().path("status").asString()).isEqualTo("failed");
    }
  }

  /** The destination cannot know whether the source has committed, and says so. */
  @Test
  void destinationQemuKilledWhenAllIsLoaded() {
    try (Held held = Held.at(FrameProxy.Type.LOADED)) {
      held.destination().kill();
      requireSourceFails(held);
      assertThat(held.agent().awaitExit(TIMEOUT)).as(held.agent().toString()).isEqualTo(3);
      assertThat(held.agent().report().path("status").asString()).isEqualTo("incomplete");
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"another machine", "a device less"})
  void qemusThatWereStartedDifferently(String difference) {
    UnaryOperator<QemuProcess.Builder> start =
        difference.equals("another machine")
            ? twin -> twin.machine("q35")
            : QemuProcess.Builder::withoutDevices;
    try (QemuProcess destination = start.apply(source.incomingTwin("destination")).start();
        Migration migration = Migration.start(source, destination)) {
      int destinationExit = migration.destination().awaitExit(TIMEOUT);
      requireRollsBack(migration, System.nanoTime());
      assertThat(destinationExit).as(migration.toString()).isEqualTo(1);
      assertThat(migration.source().messages().getFirst()).contains("started alike");
      assertThat(migration.destination().messages().getFirst()).contains("started alike");
    }
  }

  /**
   * Nothing is missing any more then: the last word of the source changes nothing. It can be said
   * later, to a destination agent that has let go of QEMU long since.
   */
  @Test
  void sourceAgentKilledWhenEverythingHasArrived() {
    QemuProcess before = source;
    // Of earlier tests, whose destination could not be told that the guest stayed.
    List<String> journalsBefore = AgentProcess.journals(before);
    try (Held held = Held.at(FrameProxy.Type.COMPLETE)) {
      held.migration().source().kill();
      held.proxy().cut();
      assertThat(held.agent().awaitExit(TIMEOUT)).as(held.agent().toString()).isEqualTo(0);
      Migration.requireLetGo(before, held.destination());
      held.proxy().release();
      try (AgentProcess destination =
          AgentProcess.resumeReceiving(held.destination(), held.port())) {
        destination.awaitListening();
        try (AgentProcess last = AgentProcess.resumeMigrating(before, held.proxy().port())) {
          requireCompletes(last);
        }
        requireCompletes(destination);
      }
      assertThat(AgentProcess.journals(before))
          .as("journals of the source")
          .containsExactlyInAnyOrderElementsOf(journalsBefore);
      assertThat(AgentProcess.journals(held.destination())).as("of the destination").isEmpty();
      requireWorks(held.destination());
      // The next test needs its guest: move it on.
      QemuProcess next = source.incomingTwin("next").start();
      Migration.complete(held.destination(), next);
      source = next;
    } finally {
      before.close();
    }
  }

  /** QEMU takes a disk's locks when it lets the guest run, and somebody may have them. */
  @Test
  void guestThatQemuDoesNotLetRunIsSetGoingWhenItsAgentIsStartedAgain(@TempDir Path folder)
      throws IOException {
    Path disk = folder.resolve("disk.raw");
    try (FileChannel file =
        FileChannel.open(disk, CREATE_NEW, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      file.write(ByteBuffer.allocate(1 << 20));
      try (QemuProcess from = boot(disk);
          QemuProcess to = from.incomingTwin("destination").start()) {
        LinuxGuest.on(from).awaitReady();
        AgentProcess agent = AgentProcess.receive(to, AgentProcess.PATIENT);
        int port = agent.awaitListening();
        try (FrameProxy proxy = FrameProxy.to(port).holdAt(FrameProxy.Type.DEVICE_STATE);
            Migration migration = Migration.start(from, proxy, agent, AgentProcess.PATIENT)) {
          proxy.awaitHeld(migration);
          FileLock nobodyElseMayWrite = file.lock(QEMU_SHARE_WRITE, 1, true);
          proxy.release();
          agent.requireExit(3, "QEMU does not let the guest run: Failed to get \"write\" lock");
          assertThat(migration.source().awaitExit(TIMEOUT)).as(migration.toString()).isEqualTo(3);
          assertThat(to.qmp().status()).isNotEqualTo("running");
          nobodyElseMayWrite.release();
          try (AgentProcess destination = AgentProcess.resumeReceiving(to, port)) {
            destination.awaitListening();
            try (AgentProcess source = AgentProcess.resumeMigrating(from, proxy.port())) {
              requireCompletes(source);
            }
            requireCompletes(destination);
          }
        }
        Migration.requireLetGo(from, to);
        requireWorks(to);
      }
    }
  }

  enum Break {
    CONNECTIONS_CUT,
    PAGE_DAMAGED,
    SOURCE_AGENT_KILLED,
    DESTINATION_AGENT_KILLED,
    BOTH_AGENTS_KILLED;

    boolean killsSource() {
      return this == SOURCE_AGENT_KILLED || this == BOTH_AGENTS_KILLED;
    }

    boolean killsDestination() {
      return this == DESTINATION_AGENT_KILLED || this == BOTH_AGENTS_KILLED;
    }
  }

  /** The guest waits for what it does not have; it never reads zeros, and nothing wrong. */
  @ParameterizedTest
  @EnumSource
  void brokenDrainIsTakenUpAgain(Break how) {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      LinuxGuest.on(from).awaitReady();
      AgentProcess agent = AgentProcess.receive(to);
      int port = agent.awaitListening();
      try (FrameProxy proxy = FrameProxy.to(port);
          Migration migration = Migration.start(from, breakingMidDrain(proxy, how), agent)) {
        AgentProcess source = migration.source();
        AgentProcess destination = agent;
        if (how != Break.PAGE_DAMAGED) {
          proxy.awaitHeld(migration);
          LinuxGuest.on(to).awaitHeartbeat(TIMEOUT);
        }
        if (how.killsSource()) {
          source.kill();
        }
        if (how.killsDestination()) {
          destination.kill();
          // QEMU's own copy of the descriptor: while it is open a missing page is waited for.
          assertThat(Migration.userfaultfds(to)).containsExactly("anon_inode:[userfaultfd]");
          QmpProbe.sleep(Duration.ofSeconds(1));
        }
        if (how != Break.PAGE_DAMAGED) {
          proxy.cut();
          proxy.release();
        }
        if (how.killsDestination()) {
          destination = AgentProcess.resumeReceiving(to, port);
          destination.awaitListening();
        }
        if (how.killsSource()) {
          source = AgentProcess.resumeMigrating(from, proxy.port());
        }
        try (AgentProcess lastSource = source;
            AgentProcess lastDestination = destination) {
          requireCompletes(lastSource);
          requireCompletes(lastDestination);
        }
      }
      Migration.requireLetGo(from, to);
      requireWorks(to);
      assertThat(LinuxGuest.on(to).corruptions()).isEmpty();
      assertThat(AgentProcess.journals(from)).as("journals of the source").isEmpty();
      assertThat(AgentProcess.journals(to)).as("journals of the destination").isEmpty();
    }
  }

  private static void requireCompletes(AgentProcess agent) {
    assertThat(agent.awaitExit(TIMEOUT)).as(agent.toString()).isZero();
    assertThat(agent.report().path("status").asString()).isEqualTo("completed");
    Migration.requireContract(agent.report());
  }

  private static FrameProxy breakingMidDrain(FrameProxy proxy, Break how) {
    Predicate<FrameProxy.Frame> pushed =
        frame -> frame.bulk() && frame.is(FrameProxy.Type.PAGES) && frame.index() == 500;
    return how == Break.PAGE_DAMAGED ? proxy.damageOnce(pushed) : proxy.holdAt(pushed);
  }

  /** By an operator's hand. What it wrote since is not what the destination has a part of. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void nothingIsSentOfAGuestThatWasSetGoingAtTheSourceBehindTheCommit(boolean andStopped) {
    try (QemuProcess from = boot()) {
      LinuxGuest.on(from).awaitReady();
      try (Held held = Held.at(from, FrameProxy.Type.COMMIT)) {
        held.migration().source().kill();
        held.proxy().cut();
        held.proxy().release();
        from.qmp().execute("cont");
        if (andStopped) {
          from.qmp().execute("stop");
        }
        try (AgentProcess resumed = AgentProcess.resumeMigrating(from, held.proxy().port())) {
          resumed.requireExit(3, "has run here again");
        }
        assertThat(held.destination().qmp().status())
            .as("it runs at the source")
            .isNotEqualTo("running");
        assertThat(held.agent().isAlive())
            .as("who has the guest loaded waits: " + held.agent())
            .isTrue();
      }
      if (andStopped) {
        from.qmp().execute("cont");
      }
      requireWorks(from);
    }
  }

  /** Nobody waits for it there any more, and its source must hear that whenever it comes. */
  @Test
  void destinationQemuThatEndsWhileTheSourceIsAwayIsMissedByTheAgentThatTookItUp() {
    try (QemuProcess from = boot()) {
      LinuxGuest.on(from).awaitReady();
      try (Held held = Held.at(from, FrameProxy.Frame::isMidDrain)) {
        held.migration().source().kill();
        held.agent().kill();
        held.proxy().cut();
        held.proxy().release();
        try (AgentProcess resumed =
            AgentProcess.resumeReceiving(held.destination(), held.port(), "-v")) {
          resumed.awaitListening();
          held.destination().kill();
          resumed.awaitLog("QEMU is gone; waiting for the source, to tell it");
          try (AgentProcess source = AgentProcess.resumeMigrating(from, held.proxy().port())) {
            source.requireExit(3, "QEMU at the destination is gone");
          }
          resumed.requireExit(3, "QEMU at the destination is gone");
        }
      }
    }
  }

  /**
   * An agent with a state folder of its own had begun with the same QEMU, and died before it had
   * touched it.
   */
  @Test
  void guestThatMovesInIsLeftAloneByAnAgentThatHadBegunWithItsQemu(@TempDir Path folder)
      throws IOException {
    try (QemuProcess from = boot()) {
      LinuxGuest.on(from).awaitReady();
      try (Held held = Held.at(from, FrameProxy.Frame::isMidDrain)) {
        QemuProcess to = held.destination();
        LinuxGuest.on(to).awaitHeartbeat(TIMEOUT);
        // Else QEMU's monitor is that agent's, and no other is heard there.
        held.agent().kill();
        UUID earlier = UUID.randomUUID();
        String begun =
            AgentProcess.firstEntry(to)
                .replaceFirst("\"session\":\"[^\"]*\"", "\"session\":\"" + earlier + '"')
                .replaceFirst("\"userfaultfd\":-?\\d+", "\"userfaultfd\":-1");
        assertThat(begun).contains("\"LOADING\"", earlier.toString(), "\"userfaultfd\":-1");
        Files.writeString(folder.resolve(earlier + ".destination"), begun);
        try (AgentProcess other =
            AgentProcess.resumeReceiving(to, 0, "--state-dir", folder.toString())) {
          other.requireExit(1, "was left alone");
        }
        held.proxy().cut();
        held.proxy().release();
        try (AgentProcess resumed = AgentProcess.resumeReceiving(to, held.port())) {
          requireCompletes(held.migration().source());
          requireCompletes(resumed);
        }
        requireWorks(to);
        assertThat(LinuxGuest.on(to).corruptions()).isEmpty();
      }
    }
  }

  /** COMMIT may be lost on its way: who is in doubt is told when the agents meet again. */
  @Test
  void commitThatIsLostIsSaidAgain() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      LinuxGuest.on(from).awaitReady();
      AgentProcess agent = AgentProcess.receive(to);
      try (FrameProxy proxy = FrameProxy.to(agent.awaitListening()).holdAt(FrameProxy.Type.COMMIT);
          Migration migration = Migration.start(from, proxy, agent)) {
        proxy.awaitHeld(migration);
        assertThat(to.qmp().status()).as("before COMMIT").isNotEqualTo("running");
        proxy.cut();
        proxy.release();
        requireCompletes(migration.source());
        requireCompletes(migration.destination());
      }
      Migration.requireLetGo(from, to);
      requireWorks(to);
    }
  }

  /** An agent that dies with the guest stopped and not committed: resume sets the guest going. */
  @Test
  void sourceAgentKilledBeforeTheCommitGivesTheGuestBack() {
    // Of earlier tests, whose destination could not be told that the guest stayed.
    List<String> journalsBefore = AgentProcess.journals(source);
    try (Held held = Held.at(FrameProxy.Type.LOADED)) {
      held.migration().source().kill();
      held.proxy().cut();
      held.proxy().release();
      try (AgentProcess resumed = AgentProcess.resumeMigrating(source, held.proxy().port())) {
        assertThat(resumed.awaitExit(TIMEOUT)).as(resumed.toString()).isEqualTo(1);
        assertThat(resumed.report().path("reason").asString()).doesNotContain("could not be told");
        assertThat(source.qmp().status()).as(resumed.toString()).isEqualTo("running");
      }
      assertThat(held.agent().awaitExit(TIMEOUT)).as(held.agent().toString()).isEqualTo(1);
      held.destination().awaitExit(TIMEOUT);
    }
    requireWorks(source);
    assertThat(AgentProcess.journals(source))
        .as("journals that are left")
        .containsExactlyInAnyOrderElementsOf(journalsBefore);
  }

  /** Both died with the destination in doubt: it must not run the guest, whoever comes first. */
  @Test
  void bothAgentsKilledWithTheDestinationInDoubt() {
    try (Held held = Held.at(FrameProxy.Type.LOADED)) {
      held.migration().source().kill();
      held.agent().kill();
      held.proxy().cut();
      held.proxy().release();
      try (AgentProcess destination =
          AgentProcess.resumeReceiving(held.destination(), held.port())) {
        destination.awaitListening();
        assertThat(held.destination().qmp().status()).isNotEqualTo("running");
        try (AgentProcess resumed = AgentProcess.resumeMigrating(source, held.proxy().port())) {
          assertThat(resumed.awaitExit(TIMEOUT)).as(resumed.toString()).isEqualTo(1);
        }
        assertThat(destination.awaitExit(TIMEOUT)).as(destination.toString()).isEqualTo(1);
      }
      held.destination().awaitExit(TIMEOUT);
    }
    requireWorks(source);
  }

  /** The guest is lost with its only QEMU; who waits for a word about it must get one. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void sourceQemuKilledWithTheDestinationInDoubt(boolean agentIsKilledToo) {
    try (QemuProcess from = boot()) {
      LinuxGuest.on(from).awaitReady();
      try (Held held = Held.at(from, FrameProxy.Type.LOADED)) {
        if (agentIsKilledToo) {
          held.migration().source().kill();
        }
        from.kill();
        held.proxy().cut();
        held.proxy().release();
        try (AgentProcess last =
            agentIsKilledToo
                ? AgentProcess.resumeMigrating(from, held.proxy().port())
                : held.migration().source()) {
          assertThat(last.awaitExit(TIMEOUT)).as(last.toString()).isEqualTo(1);
          assertThat(last.messages().getLast()).containsPattern("gone, (and|with) the guest");
        }
        assertThat(held.agent().awaitExit(TIMEOUT)).as(held.agent().toString()).isEqualTo(1);
        held.destination().awaitExit(TIMEOUT);
      }
    }
  }

  @Test
  void operatorCancelsBeforeTheCommit() {
    try (Held held = Held.at(FrameProxy.Type.LOADED);
        AgentProcess cancel = AgentProcess.tell(source, "cancel")) {
      assertThat(cancel.awaitExit(TIMEOUT)).as(cancel.toString()).isZero();
      source.qmp().awaitStatus("running", ROLL_BACK);
      held.proxy().release();
      assertThat(held.migration().source().awaitExit(TIMEOUT)).isEqualTo(1);
      assertThat(held.agent().awaitExit(TIMEOUT)).as(held.agent().toString()).isEqualTo(1);
    }
    requireWorks(source);
  }

  /** Its monitor forgets what it has not looked at when the agent leaves. */
  @Test
  void destinationQemuThatIsSlowToHearThatItIsToQuitIsWaitedFor() {
    try (Held held = Held.at(FrameProxy.Type.LOADED);
        AgentProcess cancel = AgentProcess.tell(source, "cancel")) {
      assertThat(cancel.awaitExit(TIMEOUT)).as(cancel.toString()).isZero();
      held.destination().freeze();
      held.proxy().release();
      assertThat(held.migration().source().awaitExit(TIMEOUT)).isEqualTo(1);
      assertThat(held.agent().exitsWithin(Duration.ofSeconds(1)))
          .as("whether the agent leaves a QEMU that has not heard it: " + held.agent())
          .isFalse();
      held.destination().thaw();
      held.destination().awaitExit(TIMEOUT);
      assertThat(held.agent().awaitExit(TIMEOUT)).as(held.agent().toString()).isEqualTo(1);
    }
    requireWorks(source);
  }

  @Test
  void theBandwidthThatWasSetLastHoldsForAnAgentThatTakesTheMigrationUp() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      LinuxGuest.on(from).awaitReady();
      AgentProcess agent = AgentProcess.receive(to);
      int port = agent.awaitListening();
      try (Migration migration =
          new Migration(AgentProcess.migrate(from, port, "--max-bandwidth", "200K"), agent)) {
        to.qmp().awaitStatus("running", TIMEOUT);
        try (AgentProcess slower = AgentProcess.tell(from, "set", "max-bandwidth", "100K")) {
          assertThat(slower.awaitExit(TIMEOUT)).as(slower.toString()).isZero();
        }
        AgentProcess.awaitJournal(from, journaled(0, 102_400), TIMEOUT);
        migration.source().kill();
        try (AgentProcess resumed = AgentProcess.resumeMigrating(from, port)) {
          AgentProcess.awaitJournal(from, journaled(1, 102_400), TIMEOUT);
          try (AgentProcess faster = AgentProcess.tell(from, "set", "max-bandwidth", "unlimited")) {
            assertThat(faster.awaitExit(TIMEOUT)).as(faster.toString()).isZero();
          }
          requireCompletes(resumed);
        }
        requireCompletes(agent);
      }
      requireWorks(to);
    }
  }

  private static Pattern journaled(int attempt, long bytesPerSecond) {
    return Pattern.compile(
        "\"attempt\":%d,.*\"maxBulkBytesPerSecond\":%d\\b".formatted(attempt, bytesPerSecond));
  }

  @Test
  void operatorCannotCancelBehindTheCommitButChangesTheBandwidth() {
    try (QemuProcess from = boot();
        QemuProcess to = from.incomingTwin("destination").start()) {
      LinuxGuest.on(from).awaitReady();
      AgentProcess agent = AgentProcess.receive(to);
      try (Migration migration =
          new Migration(
              AgentProcess.migrate(from, agent.awaitListening(), "--max-bandwidth", "100K"),
              agent)) {
        to.qmp().awaitStatus("running", TIMEOUT);
        try (AgentProcess cancel = AgentProcess.tell(from, "cancel");
            AgentProcess wrong = AgentProcess.tell(to, "cancel")) {
          assertThat(cancel.awaitExit(TIMEOUT)).as(cancel.toString()).isEqualTo(2);
          assertThat(cancel.messages().getFirst()).contains("belongs to the destination");
          assertThat(wrong.awaitExit(TIMEOUT)).as(wrong.toString()).isEqualTo(2);
          assertThat(wrong.messages().getFirst()).contains("no migration of");
        }
        assertThat(migration.source().isAlive()).as("100K a second last").isTrue();
        try (AgentProcess faster = AgentProcess.tell(from, "set", "max-bandwidth", "unlimited")) {
          assertThat(faster.awaitExit(TIMEOUT)).as(faster.toString()).isZero();
        }
        requireCompletes(migration.source());
        requireCompletes(migration.destination());
      }
      requireWorks(to);
    }
  }

  /** A guest whose migration was left unfinished could run twice: the next one is refused. */
  @Test
  void unfinishedMigrationIsFinishedBeforeTheNext() {
    try (Held held = Held.at(FrameProxy.Type.DEVICE_STATE)) {
      held.migration().source().kill();
      try (AgentProcess next = AgentProcess.migrate(source, held.proxy().port())) {
        assertThat(next.awaitExit(TIMEOUT)).as(next.toString()).isEqualTo(2);
        assertThat(next.messages().getFirst()).contains("source-agent resume");
      }
      held.proxy().cut();
      held.proxy().release();
      try (AgentProcess resumed = AgentProcess.resumeMigrating(source, held.proxy().port())) {
        assertThat(resumed.awaitExit(TIMEOUT)).as(resumed.toString()).isEqualTo(1);
      }
    }
    requireWorks(source);
  }
}
