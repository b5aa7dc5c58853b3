package dev.postcopy.dest.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.dest.attach.GuestRam;
import dev.postcopy.dest.attach.QemuUserfaultfd;
import dev.postcopy.journal.DestinationEntry;
import dev.postcopy.journal.VmIdentity;
import dev.postcopy.jvm.Compiler;
import dev.postcopy.linux.LinuxException;
import dev.postcopy.linux.OwnedFd;
import dev.postcopy.linux.PidFd;
import dev.postcopy.linux.ProcessStart;
import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.metrics.FaultTimes;
import dev.postcopy.preflight.Checklist;
import dev.postcopy.qmp.MemoryBackend;
import dev.postcopy.qmp.MigrationSettings;
import dev.postcopy.qmp.Qemu;
import dev.postcopy.qmp.QemuSettings;
import dev.postcopy.qmp.QmpClient;
import dev.postcopy.qmp.QmpException;
import io.netty.channel.EventLoopGroup;
import java.nio.file.Path;
import java.util.List;
import java.util.Queue;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.JsonNode;

/**
 * The QEMU that takes a guest in: found behind its QMP socket, waiting with {@code -incoming
 * defer}; or found by a journal, without its monitor, which may be blocked by a missing page. For
 * the session's thread.
 */
final class DestinationVm implements AutoCloseable {

  private static final Logger log = LoggerFactory.getLogger(DestinationVm.class);

  /** For messages, and what the source is told. */
  static final String GONE = "QEMU at the destination is gone";

  private static final String STREAM = "postcopy-device-state";

  /** From the monitor's end to the process's: its memory is given back in between. */
  private static final int EXIT_MILLIS = 2000;

  private final EventLoopGroup loop;
  private final VmIdentity identity;
  private final Queue<DestinationEvent> events;
  private final PidFd pidFd;
  private final GuestRam ram;
  private final QemuSettings settingsBefore;

  /** Made before it is needed: a lambda that is linked then takes a millisecond of the downtime. */
  private final BiConsumer<JsonNode, @Nullable Throwable> onContinued;

  private @Nullable QmpClient qmp;
  private QmpClient.@Nullable Request running;

  private DestinationVm(
      EventLoopGroup loop,
      VmIdentity identity,
      Queue<DestinationEvent> events,
      PidFd pidFd,
      GuestRam ram,
      QemuSettings settingsBefore) {
    this.loop = loop;
    this.identity = identity;
    this.events = events;
    this.pidFd = pidFd;
    this.ram = ram;
    this.settingsBefore = settingsBefore;
    this.onContinued =
        (answer, failure) ->
            events.add(
                failure == null
                    ? new DestinationEvent.Continued()
                    : new DestinationEvent.NotContinued(String.valueOf(failure.getMessage())));
  }

  /**
   * Looks at the QEMU behind {@code socket}; nothing is changed.
   *
   * @throws Refusal where it cannot take a guest in
   */
  static DestinationVm attach(
      EventLoopGroup loop, Path socket, Path stateFolder, Queue<DestinationEvent> events) {
    QmpClient qmp = QmpClient.connect(loop, socket);
    try {
      List<MemoryBackend> backends =
          DestinationChecks.run(Checklist.strict(), qmp, stateFolder).orElseThrow();
      int pid = qmp.peerPid();
      GuestRam ram = GuestRam.locate(pid, backends);
      VmIdentity identity =
          new VmIdentity(
              pid, ProcessStart.ticks(pid), socket.toAbsolutePath().toString(), backends);
      QemuSettings before = MigrationSettings.of(new Qemu(qmp)).before();
      DestinationVm vm = new DestinationVm(loop, identity, events, PidFd.open(pid), ram, before);
      vm.listenTo(qmp);
      return vm;
    } catch (RuntimeException e) {
      qmp.close();
      throw e;
    }
  }

  /**
   * The QEMU of a journal, which must be alive; its monitor is not looked at before it is needed.
   */
  static DestinationVm find(
      EventLoopGroup loop, DestinationEntry entry, Queue<DestinationEvent> events) {
    VmIdentity identity = entry.vm();
    // Before the descriptor is opened, which nobody would close where this fails.
    GuestRam ram = GuestRam.locate(identity.pid(), identity.backends());
    return new DestinationVm(
        loop, identity, events, PidFd.open(identity.pid()), ram, entry.settingsBefore());
  }

  private void listenTo(QmpClient client) {
    client.reportTo(events, DestinationEvent.QemuReported::new);
    client.closed().thenRun(() -> events.add(new DestinationEvent.QemuGone()));
    qmp = client;
  }

  /** What the journal has to hold, for the moment before anything is touched. */
  DestinationEntry entry(UUID session, int attempt) {
    return new DestinationEntry(
        session, DestinationEntry.State.LOADING, attempt, identity, -1, false, settingsBefore);
  }

  GuestRam ram() {
    return ram;
  }

  /** Gives the RAM files back to the system, so that every page is missing. */
  void dropMemory() {
    ram.punchAll();
  }

  /** A userfaultfd of QEMU's on all of the guest's RAM. */
  QemuUserfaultfd createUserfaultfd() {
    return QemuUserfaultfd.create(identity.pid(), pidFd, qemu(), ram.ranges());
  }

  /** The userfaultfd that an agent before us made. */
  QemuUserfaultfd retakeUserfaultfd(int number) {
    return QemuUserfaultfd.retake(identity.pid(), pidFd, number, ram.ranges());
  }

  /**
   * Every page is here: QEMU's memory is QEMU's again, and it migrates as before, for whoever moves
   * the guest next.
   */
  void letGo(QemuUserfaultfd userfaultfd) {
    try {
      userfaultfd.release();
    } catch (LinuxException e) {
      // A guest that ended since then had all of its memory.
      log.warn("QEMU has ended: {}", e.getMessage());
    }
    if (!hasExited()) {
      restoreSettings();
    }
  }

  /**
   * {@link #letGo} of a userfaultfd that an agent before us made, where QEMU has that still.
   *
   * @param number in QEMU; -1: it was let go of
   */
  void letGoOfLeft(int number) {
    if (number >= 0 && !useLeft(number, this::letGo)) {
      restoreSettings();
    }
  }

  /**
   * Lets go of the userfaultfd that an agent before us made, of a QEMU that will not get its guest:
   * threads that wait go on, and read zeros.
   *
   * @param number in QEMU; -1: there is none
   */
  void releaseLeft(int number) {
    if (number >= 0) {
      var _ = useLeft(number, QemuUserfaultfd::release);
    }
  }

  /** Returns whether QEMU has that userfaultfd still. */
  private boolean useLeft(int number, Consumer<QemuUserfaultfd> use) {
    try (QemuUserfaultfd left = retakeUserfaultfd(number)) {
      use.accept(left);
      return true;
    } catch (LinuxException | IllegalArgumentException e) {
      log.info("userfaultfd {} of QEMU is closed by now: {}", number, e.getMessage());
      return false;
    }
  }

  /**
   * Lets QEMU load a device state; faults must be served already. The guest does not run before
   * {@link #cont}, also where it ran at the source.
   *
   * @return the socket to write it to
   */
  OwnedFd startLoading() {
    Qemu qemu = qemu();
    MigrationSettings.of(qemu, settingsBefore).apply();
    qemu.stayStoppedAfterLoading();
    try (SocketPair pair = UnixSockets.socketPair()) {
      qemu.giveDescriptor(STREAM, pair.second().number(), UnixSockets::sendWithDescriptor);
      qemu.migrateFrom(STREAM);
      running = qemu.prepareRunning();
      qemu.begin(running);
      return OwnedFd.adopt(pair.first().release());
    }
  }

  /** Tells which of QEMU's threads are vCPUs. */
  void nameThreads(FaultTimes times) {
    qemu().vcpuThreads().forEach((vcpu, thread) -> times.nameThread(thread, "vCPU " + vcpu));
  }

  /**
   * To be called before the guest waits for what we say to QEMU's monitor.
   *
   * @param conversation to which QEMU's events go
   * @param reception for those who greet meanwhile
   */
  void rehearse(DestinationConversation conversation, Reception reception)
      throws MigrationFailedException {
    Qemu qemu = qemu();
    qemu.rehearse();
    for (int i = 0; i < Compiler.ENOUGH_CALLS; i++) {
      qemu.pretendEvent();
      reception.handle(conversation.take());
    }
  }

  /**
   * Lets the guest run; a RESUME event or {@link DestinationEvent.Continued} says when it does, and
   * {@link DestinationEvent.NotContinued} that it does not.
   */
  void cont() {
    Qemu qemu = qemu();
    QmpClient.Request command = running == null ? qemu.prepareRunning() : running;
    running = null;
    var _ = qemu.send(command).whenComplete(onContinued);
  }

  private void restoreSettings() {
    try {
      MigrationSettings.of(qemu(), settingsBefore).restore();
    } catch (Refusal | QmpException e) {
      log.warn(
          "QEMU's migration settings are still those of this migration, with which QEMU's own would"
              + " leave the guest's RAM out: {}",
          e.getMessage());
    }
  }

  /** What QEMU is about, for example inmigrate; of a monitor that waits for no page. */
  String runState() {
    return qemu().runState();
  }

  /**
   * Ends QEMU, which holds half a guest that runs elsewhere, and returns when it has heard that.
   *
   * @param unblock lets QEMU's threads go on that wait for a page: nothing is heard before
   * @return whether QEMU has heard it, or has ended
   */
  boolean quit(Runnable unblock) {
    try {
      CompletableFuture<JsonNode> answer;
      try {
        answer = qemu().quit();
      } finally {
        unblock.run();
      }
      answer.get(QmpClient.COMMAND_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
      return true;
    } catch (ExecutionException | Refusal | QmpException e) {
      log.debug("QEMU did not answer", e);
    } catch (TimeoutException e) {
      log.debug("QEMU does not answer", e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    return isEnding();
  }

  /**
   * For an operator: what becomes of a QEMU that was to {@link #quit}.
   *
   * @param quits whether it has heard that
   */
  String fate(boolean quits) {
    return quits
        ? "this QEMU was told to quit"
        : "this QEMU does not hear that it is to quit: end process %d yourself"
            .formatted(identity.pid());
  }

  private Qemu qemu() {
    if (qmp == null) {
      listenTo(QmpClient.connect(loop, Path.of(identity.qmpSocket())));
    }
    return new Qemu(require(qmp));
  }

  private static QmpClient require(@Nullable QmpClient client) {
    if (client == null) {
      throw new IllegalStateException("no monitor");
    }
    return client;
  }

  /** Whether QEMU has ended; its monitor, which would tell, is not looked at after a crash. */
  boolean hasExited() {
    return pidFd.hasExited();
  }

  /** Whether QEMU is ending: a process's sockets are closed before its end can be seen. */
  boolean isEnding() {
    return pidFd.exitsWithin(EXIT_MILLIS);
  }

  @Override
  public void close() {
    if (qmp != null) {
      qmp.close();
    }
    pidFd.close();
  }
}
