package dev.postcopy.source.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.journal.SourceEntry;
import dev.postcopy.journal.VmIdentity;
import dev.postcopy.jvm.Compiler;
import dev.postcopy.linux.HostRefusal;
import dev.postcopy.linux.InjectedUserfaultfd;
import dev.postcopy.linux.LinuxException;
import dev.postcopy.linux.OwnedFd;
import dev.postcopy.linux.ProcessStart;
import dev.postcopy.linux.RamMapping;
import dev.postcopy.linux.RemoteRange;
import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.preflight.Checklist;
import dev.postcopy.qmp.MemoryBackend;
import dev.postcopy.qmp.MigrationSettings;
import dev.postcopy.qmp.Qemu;
import dev.postcopy.qmp.QemuSettings;
import dev.postcopy.qmp.QmpClient;
import dev.postcopy.qmp.QmpException;
import dev.postcopy.source.memory.GuestMemory;
import dev.postcopy.source.memory.LoadingReads;
import dev.postcopy.source.precopy.DirtyTracker;
import dev.postcopy.source.session.SourceChecks.Fitness;
import io.netty.channel.EventLoopGroup;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Queue;
import java.util.Set;
import java.util.UUID;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The QEMU that gives its guest away: found behind its QMP socket, asked whether it can be
 * migrated, stopped, and set going again where the migration fails in time. For the session's
 * thread.
 */
final class SourceVm implements AutoCloseable {

  private static final Logger log = LoggerFactory.getLogger(SourceVm.class);
  private static final String STREAM = "postcopy-device-state";
  private static final String USERFAULTFD_DEVICE = "postcopy-userfaultfd-device";

  /** The states of a migration of QEMU's that has ended, or was none. */
  static final Set<String> ENDED = Set.of("cancelled", "failed", "completed", "none");

  /** QEMU's run states behind a migration; who has said {@code cont} since is in another one. */
  private static final Set<String> GIVEN_AWAY = Set.of("postmigrate", "finish-migrate");

  private final QmpClient qmp;
  private final Qemu qemu;
  private final GuestMemory memory;
  private final List<MemoryBackend> backends;
  private boolean wasRunning;
  private final MigrationSettings settings;
  private final int pid;
  private final long startTicks;

  /** What QEMU waits for before it writes the device state, where it does. */
  private QmpClient.@Nullable Request continuing;

  private SourceVm(
      QmpClient qmp,
      Qemu qemu,
      GuestMemory memory,
      List<MemoryBackend> backends,
      boolean wasRunning,
      MigrationSettings settings) {
    this.qmp = qmp;
    this.qemu = qemu;
    this.memory = memory;
    this.backends = backends;
    this.wasRunning = wasRunning;
    this.settings = settings;
    this.pid = qmp.peerPid();
    this.startTicks = ProcessStart.ticks(pid);
  }

  /**
   * Looks at the QEMU behind its socket and maps its RAM; nothing of QEMU's is changed.
   *
   * @throws Refusal where this guest cannot be migrated
   */
  static SourceVm attach(EventLoopGroup loop, MigrateOptions options, Queue<SourceEvent> events) {
    QmpClient qmp = QmpClient.connect(loop, options.qmpSocket());
    try {
      Qemu qemu = new Qemu(qmp);
      Fitness fit = SourceChecks.run(Checklist.strict(), qmp, options.stateFolder()).orElseThrow();
      List<MemoryBackend> backends = fit.backends();
      MigrationSettings settings = MigrationSettings.of(qemu);
      qmp.reportTo(events, SourceEvent.QemuReported::new);
      qmp.closed().thenRun(() -> events.add(new SourceEvent.QemuGone()));
      GuestMemory memory = openUnshared(qmp.peerPid(), backends);
      return new SourceVm(qmp, qemu, memory, backends, fit.running(), settings);
    } catch (RuntimeException e) {
      qmp.close();
      throw e;
    }
  }

  /**
   * Maps the RAM of a QEMU.
   *
   * @throws Refusal where another process may write to it too
   */
  static GuestMemory openUnshared(int pid, List<MemoryBackend> backends) {
    GuestMemory memory = GuestMemory.open(pid, backends);
    OptionalInt other = memory.otherWriter();
    if (other.isPresent()) {
      memory.close();
      throw new Refusal(
          "process %d may write to the guest's RAM too".formatted(other.getAsInt()),
          "end it; a second QEMU needs RAM files of its own");
    }
    return memory;
  }

  /**
   * Sets a guest going that an agent left behind before its commit, and QEMU's settings as they
   * were.
   *
   * @throws QmpException where QEMU does not do so
   */
  static void setGoing(EventLoopGroup loop, SourceEntry entry) {
    try (QmpClient qmp = QmpClient.connect(loop, Path.of(entry.vm().qmpSocket()))) {
      Qemu qemu = new Qemu(qmp);
      rollBack(qemu, entry.run(), MigrationSettings.of(qemu, entry.settings()));
    }
  }

  /** What the journal has to hold of this migration. */
  SourceEntry entry(UUID session, MigrateOptions options, SourceEntry.State state) {
    QemuSettings before = settings.before();
    return new SourceEntry(
        session,
        state,
        0,
        new VmIdentity(pid, startTicks, options.qmpSocket().toAbsolutePath().toString(), backends),
        options.vm(),
        options.destination().toString(),
        wasRunning,
        before.capabilities(),
        before.maxBandwidth(),
        before.undescribed(),
        options.maxBulkBytesPerSecond());
  }

  /**
   * Whether memory can go ahead of this guest.
   *
   * @return why it cannot; empty where it can
   */
  Optional<String> whyNoPrecopy() {
    return SourceChecks.whyNoPrecopy(qemu, pid);
  }

  /** Pages that the other QEMU is likely to read before the guest runs there. */
  int[] findLoadingReads() {
    return LoadingReads.find(qemu.guestAddresses(), memory, ranges(qmp.peerPid(), backends));
  }

  /** Begins to watch what is written to the guest's memory. */
  DirtyTracker watchWrites() {
    return DirtyTracker.start(
        qmp.peerPid(), new DeviceHandOver(qemu), memory.layout(), ranges(qmp.peerPid(), backends));
  }

  private static List<RemoteRange> ranges(int pid, List<MemoryBackend> backends) {
    return backends.stream()
        .map(b -> RamMapping.locate(pid, b.id(), b.path(), b.byteLength()).range())
        .toList();
  }

  /** Lets go of what an agent that died may have left in the QEMU of a migration. */
  static void releaseWatch(VmIdentity vm) {
    try {
      DirtyTracker.releaseLeftOver(vm.pid(), ranges(vm.pid(), vm.backends()));
    } catch (LinuxException | HostRefusal e) {
      log.info("QEMU, pid {}, cannot be looked at: {}", vm.pid(), e.getMessage());
    }
  }

  /**
   * Returns when no disk request is under way any more that was when this was called: the memory
   * that it writes to may be pinned, and then such a write causes no page fault.
   */
  void drainBlockRequests() {
    qemu.drainBlockRequests();
  }

  /** Whether pages of the guest may become holes without anybody writing to them. */
  boolean mayDiscardMemory() {
    return qemu.mayDiscardMemory();
  }

  /**
   * Somebody may have paused the guest, or set it going, since this session began.
   *
   * @return whether it runs
   * @throws MigrationFailedException where it can neither run on nor stay paused over there
   */
  boolean lookAgain() throws MigrationFailedException {
    try {
      wasRunning = SourceChecks.requireGuest(qemu);
    } catch (Refusal e) {
      // Too late for a refusal: QEMU's settings are this migration's.
      throw new MigrationFailedException(e.reason());
    }
    return wasRunning;
  }

  /** Sets QEMU's own migration up; behind the journal entry that knows how it was set before. */
  void applySettings() {
    settings.apply();
  }

  GuestMemory memory() {
    return memory;
  }

  /**
   * Gives QEMU a socket for its device state, before the guest is stopped.
   *
   * @return the socket's other end, to be read until it ends
   */
  OwnedFd openDeviceState() {
    SocketPair pair = UnixSockets.socketPair();
    try (OwnedFd forQemu = pair.second()) {
      qemu.giveDescriptor(STREAM, forQemu.number(), UnixSockets::sendWithDescriptor);
    }
    return pair.first();
  }

  /**
   * To be called before the guest's stop depends on how fast QEMU's monitor is spoken to.
   *
   * @param conversation to which QEMU's events go
   */
  void rehearse(SourceConversation conversation) throws MigrationFailedException {
    qemu.rehearse();
    // The first descriptor takes ten milliseconds, just before the guest stops otherwise.
    try (OwnedFd _ = openDeviceState()) {
      qemu.closeDescriptor(STREAM);
    }
    long deadline = System.nanoTime() + QmpClient.COMMAND_TIMEOUT.toNanos();
    for (int i = 0; i < Compiler.ENOUGH_CALLS; i++) {
      qemu.pretendEvent();
      conversation.unexpected(conversation.next(deadline, "an event of QEMU"));
    }
  }

  /**
   * QEMU shall wait between the guest's stop and its device state, where something has to be done
   * in between or it does not report otherwise when the guest's RAM is final. Its STOP event does
   * not tell: disks are drained behind it, into the guest's RAM (QEMU: do_vm_stop, system/cpus.c).
   *
   * @param wanted whether something has to be done
   * @return whether it waits
   */
  boolean pauseBeforeDeviceState(boolean wanted) {
    boolean pausing = wanted || !qemu.reportsDeviceState();
    if (pausing) {
      settings.pauseBeforeSwitchover();
      continuing = qemu.prepareContinuing(MigrationSettings.PRE_SWITCHOVER);
    }
    return pausing;
  }

  /**
   * QEMU begins to write its stream into the socket, with the guest running; when only the device
   * state is left it stops the guest. What it reports next says that the guest's RAM is final:
   * {@link MigrationSettings#PRE_SWITCHOVER} where it waits then, else {@link
   * MigrationSettings#DEVICE}.
   */
  void startMigrating() {
    qemu.migrateTo(STREAM);
    if (continuing != null) {
      qemu.begin(continuing);
    }
  }

  /** QEMU, which has stopped the guest and waits, writes the device state. */
  void sendDeviceState() {
    if (continuing == null) {
      throw new IllegalStateException("nothing waits to go on");
    }
    var _ = qemu.send(continuing);
  }

  /**
   * Sets the guest going again as it was before, for a migration that failed before its commit.
   *
   * @throws QmpException where QEMU does not do so
   */
  void rollBack() {
    rollBack(qemu, wasRunning, settings);
  }

  /**
   * Sets QEMU's migration settings as they were before an agent that died while the guest ran.
   *
   * @throws QmpException where QEMU does not do so
   */
  static void leaveRunning(EventLoopGroup loop, SourceEntry entry) {
    try (QmpClient qmp = QmpClient.connect(loop, Path.of(entry.vm().qmpSocket()))) {
      MigrationSettings.of(new Qemu(qmp), entry.settings()).restore();
    }
  }

  /**
   * Whether a guest has run here since an agent before us gave it to the destination: an operator
   * may have set it going, and stopped it. False where QEMU's monitor cannot be asked.
   */
  static boolean ranAgain(EventLoopGroup loop, VmIdentity vm) {
    try (QmpClient qmp = QmpClient.connect(loop, Path.of(vm.qmpSocket()))) {
      return !GIVEN_AWAY.contains(new Qemu(qmp).runState());
    } catch (Refusal | QmpException e) {
      log.info("whether the guest has run here again cannot be told: {}", e.getMessage());
      return false;
    }
  }

  private static void rollBack(Qemu qemu, boolean wasRunning, MigrationSettings settings) {
    String state = qemu.migrationState();
    if (!state.equals("completed") && !state.equals("none") && !state.equals("failed")) {
      qemu.cancelMigration();
      awaitMigrationEnd(qemu);
    }
    awaitRunStateOfEnd(qemu);
    if (wasRunning) {
      qemu.cont();
    }
    settings.restore();
    log.info("rolled back: the guest is {}", wasRunning ? "running" : "paused, as before");
  }

  private static void awaitMigrationEnd(Qemu qemu) {
    if (!comesTrue(500, () -> endsMigration(qemu))) {
      throw new QmpException("QEMU's migration does not end: it is " + qemu.migrationState());
    }
  }

  private static boolean endsMigration(Qemu qemu) {
    String state = qemu.migrationState();
    if (state.equals(MigrationSettings.CANCELLING)) {
      qemu.endCancelledMigration();
    }
    return ENDED.contains(state);
  }

  /** QEMU reports "completed" first, and takes {@code cont} only a moment later. */
  private static void awaitRunStateOfEnd(Qemu qemu) {
    var _ = comesTrue(500, () -> !qemu.runState().equals("finish-migrate"));
  }

  /** Looks {@code tries} times, every 10 ms, whether it is so. */
  private static boolean comesTrue(int tries, BooleanSupplier condition) {
    try {
      for (int i = 0; i < tries; i++) {
        if (condition.getAsBoolean()) {
          return true;
        }
        Thread.sleep(10);
      }
      return false;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new QmpException("interrupted");
    }
  }

  /**
   * Whether QEMU ends, and waits for that for a while: a process's sockets are closed before its
   * end can be seen.
   */
  boolean isEnding() {
    return comesTrue(200, () -> !ProcessStart.isAlive(pid, startTicks));
  }

  /** Undoes {@link #applySettings}, where nothing else was touched. */
  void detach() {
    settings.restore();
  }

  @Override
  public void close() {
    qmp.close();
    memory.close();
  }

  private record DeviceHandOver(Qemu qemu) implements InjectedUserfaultfd.HandOver {
    @Override
    public void give(int descriptor) {
      qemu.giveDescriptor(USERFAULTFD_DEVICE, descriptor, UnixSockets::sendWithDescriptor);
    }

    @Override
    public void takeBack() {
      qemu.closeDescriptor(USERFAULTFD_DEVICE);
    }
  }
}
