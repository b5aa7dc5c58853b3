package dev.postcopy.dest.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.dest.attach.GuestRam;
import dev.postcopy.dest.attach.QemuUserfaultfd;
import dev.postcopy.linux.HostCheck;
import dev.postcopy.linux.OwnedFd;
import dev.postcopy.linux.PidFd;
import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.qmp.MigrationSettings;
import dev.postcopy.qmp.Qemu;
import dev.postcopy.qmp.QmpClient;
import io.netty.channel.EventLoopGroup;
import java.nio.file.Path;
import java.util.concurrent.BlockingQueue;

/**
 * The QEMU that takes a guest in: found behind its QMP socket, waiting with {@code -incoming
 * defer}. For the session's thread.
 */
final class DestinationVm implements AutoCloseable {

  private static final String STREAM = "postcopy-device-state";

  private final QmpClient qmp;
  private final Qemu qemu;
  private final int pid;
  private final PidFd pidFd;
  private final GuestRam ram;

  private DestinationVm(QmpClient qmp, Qemu qemu, int pid, PidFd pidFd, GuestRam ram) {
    this.qmp = qmp;
    this.qemu = qemu;
    this.pid = pid;
    this.pidFd = pidFd;
    this.ram = ram;
  }

  /**
   * Looks at the QEMU behind {@code socket}; nothing is changed.
   *
   * @throws Refusal where it cannot take a guest in
   */
  static DestinationVm attach(
      EventLoopGroup loop, Path socket, BlockingQueue<DestinationEvent> events) {
    HostCheck.requireKernel();
    QmpClient qmp = QmpClient.connect(loop, socket);
    try {
      Qemu qemu = new Qemu(qmp);
      requireDeferred(qemu);
      qemu.requireNoForeignMappers();
      int pid = qmp.peerPid();
      GuestRam ram = GuestRam.locate(pid, qemu.migratableBackends());
      qmp.onEvent(event -> events.add(new DestinationEvent.QemuReported(event)));
      qmp.closed().thenRun(() -> events.add(new DestinationEvent.QemuGone()));
      return new DestinationVm(qmp, qemu, pid, PidFd.open(pid), ram);
    } catch (RuntimeException e) {
      qmp.close();
      throw e;
    }
  }

  private static void requireDeferred(Qemu qemu) {
    String state = qemu.runState();
    String migration = qemu.migrationState();
    if (!state.equals("inmigrate") || !migration.equals("none")) {
      throw new Refusal(
          "the destination QEMU is in state '%s' (migration: %s), not waiting for a guest"
              .formatted(state, migration),
          "start it with -incoming defer");
    }
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
    return QemuUserfaultfd.create(pid, pidFd, qemu, ram.ranges());
  }

  /**
   * Lets QEMU load a device state; faults must be served already. The guest does not run before
   * {@link #cont}, also where it ran at the source.
   *
   * @return the socket to write it to
   */
  OwnedFd startLoading() {
    MigrationSettings.apply(qemu);
    qemu.stayStoppedAfterLoading();
    try (SocketPair pair = UnixSockets.socketPair()) {
      qemu.giveDescriptor(STREAM, pair.second().number(), UnixSockets::sendWithDescriptor);
      qemu.migrateFrom(STREAM);
      return OwnedFd.adopt(pair.first().release());
    }
  }

  /** To be called before the guest waits for what we say to QEMU's monitor. */
  void rehearse() {
    qemu.rehearse();
  }

  /** Lets the guest run; a RESUME event says when it does. */
  void cont() {
    qemu.startRunning();
  }

  /** Ends QEMU, which holds half a guest that runs elsewhere. */
  void quit() {
    qemu.quit();
  }

  boolean hasExited() {
    return pidFd.hasExited();
  }

  @Override
  public void close() {
    qmp.close();
    pidFd.close();
  }
}
