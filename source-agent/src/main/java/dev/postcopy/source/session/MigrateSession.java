package dev.postcopy.source.session;

import dev.postcopy.cli.ExitCode;
import dev.postcopy.cli.Refusal;
import dev.postcopy.metrics.MigrationReport;
import dev.postcopy.metrics.Outcome;
import dev.postcopy.qmp.MigrationSettings;
import dev.postcopy.qmp.QmpException;
import dev.postcopy.source.page.BandwidthLimit;
import dev.postcopy.source.page.BulkWindow;
import dev.postcopy.source.page.SentPages;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.ControlFrame.DestinationStats;
import dev.postcopy.wire.Wire;
import io.netty.channel.Channel;
import io.netty.channel.IoEventLoopGroup;
import java.time.Duration;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One migration at the source, from the first look at QEMU to the last count. {@link #run} is the
 * whole story, on the caller's thread; event loops only post what happens into a queue.
 *
 * <p>Before COMMIT is sent every failure ends with the guest running here; after it the guest never
 * runs here again.
 */
public final class MigrateSession {

  private static final Logger log = LoggerFactory.getLogger(MigrateSession.class);

  private static final Duration HANDSHAKE_PATIENCE = Duration.ofSeconds(5);
  private static final Duration PREPARE_PATIENCE = Duration.ofSeconds(30);

  /** QEMU sends what it keeps to itself (video RAM, firmware) while the guest runs. */
  private static final Duration CONVERGE_PATIENCE = Duration.ofSeconds(30);

  /** The guest stands still meanwhile: longer than this, and it goes on here instead. */
  private static final Duration LOAD_PATIENCE = Duration.ofSeconds(10);

  private static final Duration RUNNING_PATIENCE = Duration.ofSeconds(60);
  private static final int PROGRESS_MILLIS = 100;

  private final MigrateOptions options;
  private final BandwidthLimit limit;
  private final ProgressListener progress;
  private final BlockingQueue<SourceEvent> events = new LinkedBlockingQueue<>();
  private final IoEventLoopGroup controlLoop = EventLoops.named("control", 1);
  private final IoEventLoopGroup demandLoop = EventLoops.named("demand", 1);
  private final IoEventLoopGroup bulkLoop = EventLoops.named("bulk", 1);

  private CompletableFuture<Void> warm = CompletableFuture.completedFuture(null);
  private volatile SourcePhase phase = SourcePhase.PREPARING;
  private @Nullable Connection demand;
  private @Nullable Connection bulk;
  private @Nullable PageServing serving;
  private @Nullable DestinationStats destinationStats;
  private boolean drained;
  private long stopNanos;
  private long runningNanos;
  private long endNanos;
  private long bytesSent;
  private volatile boolean cancelled;

  public MigrateSession(MigrateOptions options, ProgressListener progress) {
    this.options = options;
    this.limit = new BandwidthLimit(options.maxBulkBytesPerSecond());
    this.progress = progress;
  }

  /**
   * Migrates the guest.
   *
   * @throws Refusal where nothing was touched and nothing will be
   */
  public Outcome run() {
    warm = WarmUp.start();
    try (SourceVm vm = SourceVm.attach(controlLoop, options.qmpSocket(), events)) {
      try {
        return migrate(vm);
      } finally {
        // The guest's memory is unmapped next: no loop may be reading it any more.
        closeConnections();
      }
    } finally {
      EventLoops.shutDown(demandLoop);
      EventLoops.shutDown(bulkLoop);
      EventLoops.shutDown(controlLoop);
    }
  }

  /**
   * Asks for the guest to stay here; from any thread. Before COMMIT {@link #run} then ends with the
   * guest running here as before; after it, it goes on.
   */
  public void cancel() {
    cancelled = true;
    events.add(new SourceEvent.Cancelled());
  }

  private Outcome migrate(SourceVm vm) {
    try {
      PageServing pages = prepare(vm);
      serving = pages;
      switchOver(vm, pages);
      commit(vm, pages);
      drain(pages);
      return outcome(ExitCode.COMPLETED, "completed", "");
    } catch (MigrationFailedException | QmpException e) {
      return fail(vm, String.valueOf(e.getMessage()));
    } catch (Refusal e) {
      vm.detach();
      throw e;
    } catch (RuntimeException e) {
      // Whatever it is: a guest that was stopped must not stay so.
      log.error("unexpected", e);
      return fail(vm, "unexpected " + e);
    }
  }

  /** Two connections, one layout, and a destination that serves faults already. */
  private PageServing prepare(SourceVm vm) throws MigrationFailedException {
    BulkWindow window =
        options.bulkWindowBytes().isPresent()
            ? BulkWindow.fixed(options.bulkWindowBytes().getAsLong())
            : BulkWindow.adaptive();
    PageServing pages = new PageServing(vm.memory(), window, limit, options.pushOrder(), events);
    Destination destination = new Destination(options.destination(), () -> cancelled);
    UUID session = UUID.randomUUID();
    Connection demandConnection =
        destination.connect(demandLoop, options.connectTimeout(), pages::onDemandConnected);
    demand = demandConnection;
    demandConnection.send(hello(session, ConnectionRole.DEMAND, vm));
    expectWelcome();
    Connection bulkConnection =
        destination.connect(bulkLoop, HANDSHAKE_PATIENCE, pages::onBulkConnected);
    bulk = bulkConnection;
    bulkConnection.send(hello(session, ConnectionRole.BULK, vm));
    expectWelcome();
    expect(ControlFrame.Ready.class, PREPARE_PATIENCE);
    warm.join();
    vm.rehearse();
    pages.startMeasuring();
    log.info("the destination is ready: {}", vm.memory().layout());
    return pages;
  }

  private static ControlFrame.Hello hello(UUID session, ConnectionRole role, SourceVm vm) {
    return new ControlFrame.Hello(
        Wire.VERSION,
        session,
        role,
        role == ConnectionRole.DEMAND ? vm.memory().layout().blocks() : List.of());
  }

  private void expectWelcome() throws MigrationFailedException {
    int version = expect(ControlFrame.Welcome.class, HANDSHAKE_PATIENCE).version();
    if (version != Wire.VERSION) {
      throw new Refusal(
          "the destination speaks version %d, this is version %d".formatted(version, Wire.VERSION),
          "install the same version on both hosts");
    }
  }

  /**
   * Lets QEMU migrate what the agents do not: its private memory while the guest runs, then, with
   * the guest stopped by QEMU itself, the device state; the destination loads it.
   */
  private void switchOver(SourceVm vm, PageServing pages) throws MigrationFailedException {
    phase = phase.advanceTo(SourcePhase.SWITCHING_OVER);
    Channel tunnel = DeviceStateTunnel.open(vm.openDeviceState(), connection(bulk), events);
    try {
      vm.startMigrating();
      awaitStop();
      pages.startAnswering();
      vm.sendDeviceState();
      awaitLoaded();
    } finally {
      tunnel.close();
    }
  }

  /** Returns when no vCPU and no device of QEMU writes to the guest's RAM any more. */
  private void awaitStop() throws MigrationFailedException {
    long deadline = System.nanoTime() + CONVERGE_PATIENCE.toNanos();
    while (true) {
      SourceEvent event = next(deadline, "QEMU to stop the guest");
      if (event instanceof SourceEvent.QemuReported report
          && report.event().migrationStatus().equals(MigrationSettings.PRE_SWITCHOVER)) {
        // A guest that was paused does not stop.
        stopNanos = stopNanos == 0 ? report.event().arrivalNanos() : stopNanos;
        return;
      }
      unexpected(event);
    }
  }

  /** Returns when the destination could run the guest, and QEMU here holds it to be gone. */
  private void awaitLoaded() throws MigrationFailedException {
    long deadline = stopNanos + LOAD_PATIENCE.toNanos();
    boolean given = false;
    boolean loaded = false;
    while (!given || !loaded) {
      SourceEvent event = next(deadline, "the destination to load the device state");
      if (event instanceof SourceEvent.QemuReported report
          && report.event().migrationStatus().equals("completed")) {
        given = true;
      } else if (event instanceof SourceEvent.Said(ControlFrame.Loaded())) {
        loaded = true;
      } else {
        unexpected(event);
      }
    }
  }

  /** From the first line on, whatever happens, the guest does not run here again. */
  private void commit(SourceVm vm, PageServing pages) throws MigrationFailedException {
    phase = phase.advanceTo(SourcePhase.COMMITTED);
    connection(demand).send(new ControlFrame.Commit(vm.wasRunning()));
    expect(ControlFrame.Running.class, RUNNING_PATIENCE);
    runningNanos = System.nanoTime();
    // Not before: until the guest runs there, nothing should take time from its switch-over.
    pages.startPushing();
    log.info("the guest is at the destination, downtime {} µs", downtimeMicros());
  }

  private void drain(PageServing pages) throws MigrationFailedException {
    phase = phase.advanceTo(SourcePhase.DRAINING);
    SentPages sent = pages.sent();
    boolean endSent = false;
    boolean complete = false;
    while (!complete) {
      // The other loop may have claimed a page and not counted it yet.
      if (drained && !endSent && sent.isAllCounted()) {
        pages.stopMeasuring();
        connection(demand).send(new ControlFrame.End(sent.dataPages(), sent.zeroPages()));
        endSent = true;
      }
      SourceEvent event = poll(drained && !endSent ? 1 : PROGRESS_MILLIS);
      reportProgress(pages);
      switch (event) {
        case null -> {}
        case SourceEvent.Said(ControlFrame.Complete(DestinationStats stats)) -> {
          verify(sent, stats);
          destinationStats = stats;
          complete = true;
        }
        case SourceEvent.QemuGone() -> log.info("QEMU has ended; its RAM is still mapped here");
        default -> unexpected(event);
      }
    }
    endNanos = System.nanoTime();
    bytesSent = pages.bytesSent();
    connection(demand)
        .sendLast(new ControlFrame.Confirmed(downtimeMicros(), totalMicros(), bytesSent));
    phase = phase.advanceTo(SourcePhase.COMPLETED);
  }

  private static void verify(SentPages pages, DestinationStats stats)
      throws MigrationFailedException {
    if (stats.dataPages() != pages.dataPages()
        || stats.zeroPages() != pages.zeroPages()
        || !pages.isAllCounted()) {
      throw new MigrationFailedException(
          "the counts differ: sent %d + %d zero of %d pages, received %d + %d zero"
              .formatted(
                  pages.dataPages(),
                  pages.zeroPages(),
                  pages.pageCount(),
                  stats.dataPages(),
                  stats.zeroPages()));
    }
  }

  private Outcome fail(SourceVm vm, String reason) {
    log.info("failed in phase {}: {}", phase, reason);
    try {
      // The guest first: without COMMIT the destination does not run it, whatever it hears and
      // when.
      return phase.canRollBack() ? stayHere(vm, reason) : lost(reason);
    } finally {
      if (demand != null) {
        demand.sendLast(new ControlFrame.Abort(reason));
      }
    }
  }

  private Outcome stayHere(SourceVm vm, String reason) {
    try {
      if (phase.isUntouched()) {
        vm.detach();
      } else {
        vm.rollBack();
      }
    } catch (QmpException e) {
      return outcome(
          ExitCode.FAILED_AT_SOURCE,
          "failed",
          "%s; and the guest could not be resumed: %s".formatted(reason, e.getMessage()));
    }
    return outcome(
        ExitCode.FAILED_AT_SOURCE, "failed", reason + "; the guest is at the source as before");
  }

  private Outcome lost(String reason) {
    return outcome(
        ExitCode.INCOMPLETE_AT_DESTINATION,
        "incomplete",
        reason + "; the guest belongs to the destination");
  }

  /** Waits for a frame of {@code type}; anything that means failure ends the migration. */
  private <T extends ControlFrame> T expect(Class<T> type, Duration patience)
      throws MigrationFailedException {
    long deadline = System.nanoTime() + patience.toNanos();
    while (true) {
      SourceEvent event = next(deadline, type.getSimpleName());
      if (event instanceof SourceEvent.Said(ControlFrame frame) && type.isInstance(frame)) {
        return type.cast(frame);
      }
      unexpected(event);
    }
  }

  private SourceEvent next(long deadlineNanos, String awaited) throws MigrationFailedException {
    long millis = TimeUnit.NANOSECONDS.toMillis(deadlineNanos - System.nanoTime());
    SourceEvent event = poll(Math.max(0, millis));
    if (event == null) {
      throw new MigrationFailedException("no answer while waiting for " + awaited);
    }
    return event;
  }

  private @Nullable SourceEvent poll(long millis) throws MigrationFailedException {
    try {
      return events.poll(millis, TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new MigrationFailedException("interrupted");
    }
  }

  /** What an event means that no step was waiting for. */
  private void unexpected(SourceEvent event) throws MigrationFailedException {
    switch (event) {
      case SourceEvent.QemuReported report -> {
        if (report.event().name().equals("STOP")) {
          stopNanos = report.event().arrivalNanos();
        } else if (report.event().migrationStatus().equals("failed") && phase.canRollBack()) {
          throw new MigrationFailedException("QEMU could not write its device state");
        }
      }
      case SourceEvent.Said(ControlFrame.Refuse(String reason, String remedy)) -> {
        if (phase.isUntouched()) {
          throw new Refusal("the destination refuses: " + reason, remedy);
        }
        throw new MigrationFailedException("the destination refuses: " + reason);
      }
      case SourceEvent.Said(ControlFrame.Abort(String reason)) ->
          throw new MigrationFailedException("the destination gave up: " + reason);
      case SourceEvent.Said(ControlFrame frame) ->
          throw new MigrationFailedException("unexpected " + frame + " in phase " + phase);
      case SourceEvent.ConnectionLost(String cause) -> {
        if (phase.isUntouched() && cause.startsWith("protocol error")) {
          throw new Refusal(
              "%s: %s".formatted(options.destination(), cause),
              "check that a destination agent of the same version listens there");
        }
        throw new MigrationFailedException("connection to the destination: " + cause);
      }
      case SourceEvent.QemuGone() -> {
        if (phase.canRollBack()) {
          throw new MigrationFailedException("QEMU at the source is gone");
        }
      }
      case SourceEvent.Cancelled() -> {
        if (phase.canRollBack()) {
          throw new MigrationFailedException("cancelled");
        }
        log.warn("not cancelled: the guest belongs to the destination, its memory goes on moving");
      }
      case SourceEvent.DeviceStateSent(long byteLength) ->
          log.info("{} bytes of device state sent", byteLength);
      case SourceEvent.Drained() -> drained = true;
    }
  }

  private void reportProgress(PageServing pages) {
    SentPages sent = pages.sent();
    progress.onProgress(
        phase, sent.dataPages() + sent.zeroPages(), sent.pageCount(), pages.bytesSent());
  }

  private Outcome outcome(ExitCode code, String status, String reason) {
    SentPages pages = serving == null ? null : serving.sent();
    DestinationStats stats = destinationStats;
    MigrationReport.FaultLatency faults =
        stats == null
            ? MigrationReport.FaultLatency.NONE
            : new MigrationReport.FaultLatency(
                stats.faults(),
                stats.p50Micros(),
                stats.p90Micros(),
                stats.p99Micros(),
                stats.maxMicros());
    MigrationReport.PageCounts counts =
        pages == null
            ? MigrationReport.PageCounts.NONE
            : new MigrationReport.PageCounts(
                pages.demandPages(), pages.pushedPages(), pages.zeroPages(), pages.resentPages());
    return new Outcome(
        code,
        new MigrationReport(
            status, reason, downtimeMicros(), totalMicros(), faults, counts, bytesSent));
  }

  private long downtimeMicros() {
    return runningNanos == 0 ? 0 : TimeUnit.NANOSECONDS.toMicros(runningNanos - stopNanos);
  }

  private long totalMicros() {
    return endNanos == 0 ? 0 : TimeUnit.NANOSECONDS.toMicros(endNanos - stopNanos);
  }

  private static Connection connection(@Nullable Connection connection) {
    if (connection == null) {
      throw new IllegalStateException("not connected");
    }
    return connection;
  }

  private void closeConnections() {
    if (demand != null) {
      demand.closeAndWait();
    }
    if (bulk != null) {
      bulk.closeAndWait();
    }
  }
}
