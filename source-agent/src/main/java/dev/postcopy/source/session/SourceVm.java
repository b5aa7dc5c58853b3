package dev.postcopy.source.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.journal.SourceEntry;
import dev.postcopy.journal.VmIdentity;
import dev.postcopy.linux.OwnedFd;
import dev.postcopy.linux.ProcessStart;
import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.preflight.Checklist;
import dev.postcopy.qmp.MemoryBackend;
import dev.postcopy.qmp.MigrationSettings;
import dev.postcopy.qmp.Qemu;
import dev.postcopy.qmp.QmpClient;
import dev.postcopy.qmp.QmpException;
import dev.postcopy.source.memory.GuestMemory;
import dev.postcopy.source.session.SourceChecks.Fitness;
import io.netty.channel.EventLoopGroup;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalInt;
import java.util.Queue;
import java.util.UUID;
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

  private final QmpClient qmp;
  private final Qemu qemu;
  private final GuestMemory memory;
  private final List<MemoryBackend> backends;
  private final boolean wasRunning;
  private final MigrationSettings settings;
  private final int pid;
  private final long startTicks;

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
   * Looks at the QEMU behind its socket and maps its RAM; the guest goes on meanwhile.
   *
   * @throws Refusal where this guest cannot be migrated
   */
  static SourceVm attach(EventLoopGroup loop, MigrateOptions options, Queue<SourceEvent> events) {
    QmpClient qmp = QmpClient.connect(loop, options.qmpSocket());
    try {
      Qemu qemu = new Qemu(qmp);
      Fitness fit = SourceChecks.run(Checklist.strict(), qmp, options.stateFolder()).orElseThrow();
      List<MemoryBackend> backends = fit.backends();
      GuestMemory memory = openUnshared(qmp.peerPid(), backends);
      qmp.reportTo(events, SourceEvent.QemuReported::new);
      qmp.closed().thenRun(() -> events.add(new SourceEvent.QemuGone()));
      return new SourceVm(
          qmp, qemu, memory, backends, fit.running(), MigrationSettings.apply(qemu));
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
      rollBack(
          qemu,
          entry.run(),
          MigrationSettings.ofBefore(qemu, entry.capabilities(), entry.maxBandwidth()));
    }
  }

  /** What the journal has to hold of this migration, for the moment before the guest stops. */
  SourceEntry entry(UUID session, MigrateOptions options) {
    return new SourceEntry(
        session,
        SourceEntry.State.SWITCHING_OVER,
        0,
        new VmIdentity(pid, startTicks, options.qmpSocket().toAbsolutePath().toString(), backends),
        options.vm(),
        options.destination().toString(),
        wasRunning,
        settings.capabilitiesBefore(),
        settings.maxBandwidthBefore());
  }

  GuestMemory memory() {
    return memory;
  }

  /** Whether the guest ran when it was found, and so shall run at the destination. */
  boolean wasRunning() {
    return wasRunning;
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

  /** To be called before the guest's stop depends on how fast QEMU's monitor is spoken to. */
  void rehearse() {
    qemu.rehearse();
  }

  /**
   * QEMU begins to write its stream into the socket, with the guest running; when only the device
   * state is left it stops the guest and waits, which it reports as {@link
   * MigrationSettings#PRE_SWITCHOVER}. From then on the guest's RAM is final.
   */
  void startMigrating() {
    qemu.migrateTo(STREAM);
  }

  /** QEMU, which has stopped the guest, writes the device state. */
  void sendDeviceState() {
    qemu.continueMigration(MigrationSettings.PRE_SWITCHOVER);
  }

  /**
   * Sets the guest going again as it was before, for a migration that failed before its commit.
   *
   * @throws QmpException where QEMU does not do so
   */
  void rollBack() {
    rollBack(qemu, wasRunning, settings);
  }

  private static void rollBack(Qemu qemu, boolean wasRunning, MigrationSettings settings) {
    String state = qemu.migrationState();
    if (!state.equals("completed") && !state.equals("none") && !state.equals("failed")) {
      qemu.cancelMigration();
      awaitMigrationEnd(qemu);
    }
    if (wasRunning) {
      qemu.cont();
    }
    settings.restore();
    log.info("rolled back: the guest is {}", wasRunning ? "running" : "paused, as before");
  }

  private static void awaitMigrationEnd(Qemu qemu) {
    for (int i = 0; i < 500; i++) {
      switch (qemu.migrationState()) {
        case "cancelled", "failed", "completed", "none" -> {
          return;
        }
        default -> sleepMillis(10);
      }
    }
    throw new QmpException("QEMU's migration does not end");
  }

  private static void sleepMillis(int millis) {
    try {
      Thread.sleep(millis);
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
    for (int i = 0; i < 200; i++) {
      if (!ProcessStart.isAlive(pid, startTicks)) {
        return true;
      }
      sleepMillis(10);
    }
    return false;
  }

  /** Undoes what {@link #attach} set, where nothing else was touched. */
  void detach() {
    settings.restore();
  }

  @Override
  public void close() {
    qmp.close();
    memory.close();
  }
}
