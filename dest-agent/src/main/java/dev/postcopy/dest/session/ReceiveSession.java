package dev.postcopy.dest.session;

import dev.postcopy.cli.ExitCode;
import dev.postcopy.cli.Refusal;
import dev.postcopy.dest.attach.QemuUserfaultfd;
import dev.postcopy.dest.page.PageStates;
import dev.postcopy.linux.HostRefusal;
import dev.postcopy.linux.LinuxException;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.metrics.MigrationReport;
import dev.postcopy.metrics.Outcome;
import dev.postcopy.qmp.QmpException;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.ControlFrame.DestinationStats;
import dev.postcopy.wire.FrameSink;
import dev.postcopy.wire.Wire;
import io.netty.channel.Channel;
import io.netty.channel.IoEventLoopGroup;
import java.net.InetSocketAddress;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One migration at the destination, from listening to the last count. {@link #run} is the whole
 * story, on the caller's thread; event loops serve faults and pages, and only post into a queue
 * what the story has to know.
 */
public final class ReceiveSession {

  private static final Logger log = LoggerFactory.getLogger(ReceiveSession.class);

  private final ReceiveOptions options;
  private final Consumer<InetSocketAddress> onListening;
  private final BlockingQueue<DestinationEvent> events = new LinkedBlockingQueue<>();
  private final IoEventLoopGroup controlLoop = EventLoops.named("control", 1);
  private final IoEventLoopGroup connectionLoops = EventLoops.named("connection", 2);

  private CompletableFuture<Void> warm = CompletableFuture.completedFuture(null);
  private DestinationPhase phase = DestinationPhase.LISTENING;
  private @Nullable Link link;
  private @Nullable QemuUserfaultfd userfaultfd;
  private @Nullable FaultServing serving;
  private ControlFrame.@Nullable Confirmed confirmed;

  /**
   * @param onListening told where we listen, once a source may connect
   */
  public ReceiveSession(ReceiveOptions options, Consumer<InetSocketAddress> onListening) {
    this.options = options;
    this.onListening = onListening;
  }

  /** The two connections from the source. */
  private record Link(Connection demand, Connection bulk) {}

  /**
   * Takes a guest in.
   *
   * @throws Refusal where nothing was touched and nothing will be
   */
  public Outcome run() {
    warm = WarmUp.start();
    try (DestinationVm vm = DestinationVm.attach(controlLoop, options.qmpSocket(), events)) {
      return receive(vm);
    } finally {
      if (link != null) {
        link.demand().close();
        link.bulk().close();
      }
      EventLoops.shutDown(connectionLoops);
      EventLoops.shutDown(controlLoop);
    }
  }

  /**
   * Asks for the guest to stay where it is; from any thread. Once QEMU has loaded its state the
   * source may have committed: then {@link #run} goes on.
   */
  public void cancel() {
    events.add(new DestinationEvent.Cancelled());
  }

  private Outcome receive(DestinationVm vm) {
    Channel listening =
        Transport.listen(
            controlLoop, connectionLoops, options.listen(), made -> new Greeting(made, events));
    onListening.accept(Transport.localAddress(listening));
    try {
      Link source = awaitSource(vm.ram().layout());
      link = source;
      prepare(vm, source);
      load(source);
      takeOver(vm, source);
      drain(vm, source);
      return outcome(ExitCode.COMPLETED, "completed", "");
    } catch (Refusal | HostRefusal e) {
      throw e;
    } catch (MigrationFailedException | QmpException | LinuxException e) {
      return fail(vm, String.valueOf(e.getMessage()));
    } catch (RuntimeException e) {
      log.error("unexpected", e);
      return fail(vm, "unexpected " + e);
    } finally {
      listening.close();
    }
  }

  /** Waits for both connections of one source whose guest fits; others are sent away. */
  private Link awaitSource(RamLayout layout) throws MigrationFailedException {
    Connection demand = null;
    ControlFrame.Hello migration = null;
    while (true) {
      switch (take()) {
        case DestinationEvent.Greeted(Connection connection, ControlFrame.Hello hello) -> {
          if (demand == null) {
            requireSameVersion(connection, hello);
          }
          if (hello.role() == ConnectionRole.DEMAND && demand == null) {
            requireSameLayout(connection, hello, layout);
            welcome(connection, new ConversationSink(ConnectionRole.DEMAND, events));
            demand = connection;
            migration = hello;
          } else if (hello.role() == ConnectionRole.BULK
              && demand != null
              && migration != null
              && hello.session().equals(migration.session())) {
            welcome(connection, new ConversationSink(ConnectionRole.BULK, events));
            return new Link(demand, connection);
          } else {
            refuse(connection, "another migration to this QEMU is under way", "wait for its end");
          }
        }
        case DestinationEvent.ConnectionLost(ConnectionRole role, String cause) -> {
          log.warn("the source went away before anything was touched: {}", cause);
          demand = null;
          migration = null;
        }
        case DestinationEvent event -> unexpected(event);
      }
    }
  }

  private static void requireSameVersion(Connection connection, ControlFrame.Hello hello) {
    if (hello.version() != Wire.VERSION) {
      String reason =
          "the source speaks version %d, the destination version %d"
              .formatted(hello.version(), Wire.VERSION);
      refuseForGood(connection, reason, "install the same version on both hosts");
      throw new Refusal(reason, "install the same version on both hosts");
    }
  }

  private static void requireSameLayout(
      Connection connection, ControlFrame.Hello hello, RamLayout layout) {
    String difference;
    try {
      difference = new RamLayout(hello.blocks()).differenceTo(layout).orElse("");
    } catch (IllegalArgumentException e) {
      difference = String.valueOf(e.getMessage());
    }
    if (!difference.isEmpty()) {
      String reason = "the RAM differs: " + difference;
      String remedy = "give both QEMUs the same memory backends, with the same ids";
      refuseForGood(connection, reason, remedy);
      throw new Refusal(reason, remedy);
    }
  }

  /** The agent ends behind this: the source shall hear why, not only that. */
  private static void refuseForGood(Connection connection, String reason, String remedy) {
    connection.sendLast(new ControlFrame.Refuse(reason, remedy));
  }

  private static void refuse(Connection connection, String reason, String remedy) {
    connection.sendAndClose(new ControlFrame.Refuse(reason, remedy));
  }

  private static void welcome(Connection connection, FrameSink sink) {
    connection.handOver(sink);
    connection.send(new ControlFrame.Welcome(Wire.VERSION));
  }

  /** Faults are served before QEMU gets the first byte of the device state. */
  private void prepare(DestinationVm vm, Link source) {
    QemuUserfaultfd created;
    try {
      created = vm.createUserfaultfd();
    } catch (HostRefusal e) {
      refuseForGood(source.demand(), e.reason(), e.remedy());
      throw e;
    }
    userfaultfd = created;
    phase = phase.advanceTo(DestinationPhase.LOADING);
    // Registered first: a page that is dropped now cannot come back by itself.
    vm.dropMemory();
    DeviceStateFeeder feeder = new DeviceStateFeeder(source.bulk());
    serving =
        FaultServing.start(
            vm.ram(), created.userfaultfd(), source.demand(), source.bulk(), feeder, events);
    warm.join();
    vm.rehearse();
    feeder.open(vm.startLoading());
    source.demand().send(new ControlFrame.Ready());
  }

  private void load(Link source) throws MigrationFailedException {
    while (true) {
      DestinationEvent event = take();
      if (event instanceof DestinationEvent.QemuReported report) {
        switch (report.event().migrationStatus()) {
          case "completed" -> {
            phase = phase.advanceTo(DestinationPhase.LOADED);
            source.demand().send(new ControlFrame.Loaded());
            return;
          }
          case "failed" ->
              throw new MigrationFailedException(
                  "QEMU could not load the device state; are both QEMUs started alike?");
          default -> {}
        }
      } else {
        unexpected(event);
      }
    }
  }

  private void takeOver(DestinationVm vm, Link source) throws MigrationFailedException {
    while (phase == DestinationPhase.LOADED) {
      // No switch over patterns: the first run of one takes milliseconds, and the guest stands
      // still.
      DestinationEvent event = take();
      if (event instanceof DestinationEvent.Said(ControlFrame.Commit commit)) {
        phase = phase.advanceTo(DestinationPhase.DRAINING);
        if (commit.run()) {
          resume(vm);
        }
        source.demand().send(new ControlFrame.Running());
        log.info("the guest {} here", commit.run() ? "runs" : "is, and stays paused,");
      } else {
        unexpected(event);
      }
    }
  }

  /** The event tells, not the answer to the command: that may wait behind the guest's faults. */
  private void resume(DestinationVm vm) throws MigrationFailedException {
    vm.cont();
    while (true) {
      DestinationEvent event = take();
      if (event instanceof DestinationEvent.QemuReported report
          && report.event().name().equals("RESUME")) {
        return;
      }
      unexpected(event);
    }
  }

  private void drain(DestinationVm vm, Link source) throws MigrationFailedException {
    FaultServing served = serving();
    ControlFrame.End end = null;
    while (end == null || !served.pages().isComplete()) {
      switch (take()) {
        case DestinationEvent.Said(ControlFrame.End said) -> end = said;
        case DestinationEvent.AllPagesKnown() -> {}
        case DestinationEvent.QemuGone() -> requireAlive(vm);
        case DestinationEvent event -> unexpected(event);
      }
    }
    requireSameCounts(end, served.pages());
    source.demand().send(new ControlFrame.Complete(served.stats()));
    awaitConfirmation();
    served.stop();
    letGo();
    phase = phase.advanceTo(DestinationPhase.COMPLETED);
  }

  private static void requireSameCounts(ControlFrame.End end, PageStates pages)
      throws MigrationFailedException {
    if (end.dataPages() != pages.dataPages() || end.zeroPages() != pages.zeroPages()) {
      throw new MigrationFailedException(
          "the counts differ: sent %d + %d zero, received %d + %d zero"
              .formatted(end.dataPages(), end.zeroPages(), pages.dataPages(), pages.zeroPages()));
    }
  }

  /** Every page is here: a source that goes away without its last word changes nothing. */
  private void awaitConfirmation() throws MigrationFailedException {
    while (confirmed == null) {
      switch (take()) {
        case DestinationEvent.Said(ControlFrame.Confirmed said) -> confirmed = said;
        case DestinationEvent.ConnectionLost(ConnectionRole role, String cause) -> {
          // Both connections end with the source's last word, and bulk may be seen to end first.
          if (role == ConnectionRole.DEMAND) {
            log.warn("the source did not confirm the counts: {}", cause);
            return;
          }
        }
        case DestinationEvent event -> unexpected(event);
      }
    }
  }

  private Outcome fail(DestinationVm vm, String reason) {
    log.info("failed in phase {}: {}", phase, reason);
    if (link != null) {
      link.demand().sendLast(new ControlFrame.Abort(reason));
    }
    return switch (phase) {
      case LISTENING ->
          outcome(ExitCode.FAILED_AT_SOURCE, "failed", reason + "; the guest is at the source");
      case LOADING -> {
        giveUpHalfLoaded(vm);
        yield outcome(
            ExitCode.FAILED_AT_SOURCE,
            "failed",
            reason + "; the guest is at the source, this QEMU was told to quit");
      }
      case LOADED ->
          outcome(
              ExitCode.INCOMPLETE_AT_DESTINATION,
              "incomplete",
              reason
                  + "; the source may have committed: quit this QEMU only where the source agent"
                  + " says that the guest is there");
      case DRAINING, COMPLETED ->
          outcome(
              ExitCode.INCOMPLETE_AT_DESTINATION,
              "incomplete",
              "%s; %d of %d pages are here, threads that need another one wait"
                  .formatted(
                      reason,
                      serving().pages().dataPages() + serving().pages().zeroPages(),
                      vm.ram().layout().pageCount()));
    };
  }

  /**
   * QEMU may be blocked on a missing page. It is told to quit first and woken by unregistering
   * then: it reads zeros, but the guest was never to run here.
   */
  private void giveUpHalfLoaded(DestinationVm vm) {
    vm.quit();
    if (serving != null) {
      serving.stop();
    }
    try {
      letGo();
    } catch (LinuxException e) {
      log.debug("QEMU was faster", e);
    }
  }

  private void letGo() {
    if (userfaultfd != null) {
      userfaultfd.release();
    }
  }

  private DestinationEvent take() throws MigrationFailedException {
    try {
      return events.take();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new MigrationFailedException("interrupted");
    }
  }

  /** What an event means that no step was waiting for. */
  private void unexpected(DestinationEvent event) throws MigrationFailedException {
    switch (event) {
      case DestinationEvent.Greeted greeted ->
          refuse(
              greeted.connection(),
              "another migration to this QEMU is under way",
              "wait for its end");
      case DestinationEvent.Said(ControlFrame.Abort(String reason)) ->
          throw new MigrationFailedException("the source gave up: " + reason);
      case DestinationEvent.Said(ControlFrame frame) ->
          throw new MigrationFailedException("unexpected " + frame + " in phase " + phase);
      case DestinationEvent.ConnectionLost(ConnectionRole role, String cause) ->
          throw new MigrationFailedException("connection to the source: " + cause);
      case DestinationEvent.ServingFailed(String cause) ->
          throw new MigrationFailedException(cause);
      case DestinationEvent.QemuGone() ->
          throw new MigrationFailedException("QEMU at the destination is gone");
      case DestinationEvent.QemuReported report -> log.debug("QEMU: {}", report.event().name());
      case DestinationEvent.Cancelled() -> {
        if (phase.canBeGivenUp()) {
          throw new MigrationFailedException("cancelled");
        }
        log.warn("not cancelled: the guest may be running here already");
      }
      case DestinationEvent.AllPagesKnown() -> {}
    }
  }

  /** A monitor may be closed while QEMU goes on. */
  private static void requireAlive(DestinationVm vm) throws MigrationFailedException {
    if (vm.hasExited()) {
      throw new MigrationFailedException("QEMU at the destination is gone");
    }
  }

  private FaultServing serving() {
    if (serving == null) {
      throw new IllegalStateException("nothing is served yet");
    }
    return serving;
  }

  private Outcome outcome(ExitCode code, String status, String reason) {
    MigrationReport.FaultLatency faults = MigrationReport.FaultLatency.NONE;
    MigrationReport.PageCounts counts = MigrationReport.PageCounts.NONE;
    if (serving != null) {
      DestinationStats stats = serving.stats();
      faults =
          new MigrationReport.FaultLatency(
              stats.faults(),
              stats.p50Micros(),
              stats.p90Micros(),
              stats.p99Micros(),
              stats.maxMicros());
      counts =
          new MigrationReport.PageCounts(
              stats.demandPages(),
              stats.dataPages() - stats.demandPages(),
              stats.zeroPages(),
              stats.duplicatePages());
    }
    return new Outcome(
        code,
        new MigrationReport(
            status,
            reason,
            confirmed == null ? 0 : confirmed.downtimeMicros(),
            confirmed == null ? 0 : confirmed.totalMicros(),
            faults,
            counts,
            confirmed == null ? 0 : confirmed.bytesSent()));
  }

  /** A connection before pages may come on it. */
  private record ConversationSink(ConnectionRole role, BlockingQueue<DestinationEvent> events)
      implements FrameSink {
    @Override
    public void onControl(ControlFrame frame) {
      events.add(new DestinationEvent.Said(frame));
    }

    @Override
    public void onClosed(String cause) {
      events.add(new DestinationEvent.ConnectionLost(role, cause));
    }
  }
}
