package dev.postcopy.source.session;

import dev.postcopy.cli.ExitCode;
import dev.postcopy.cli.Refusal;
import dev.postcopy.journal.Journal;
import dev.postcopy.journal.SourceEntry;
import dev.postcopy.linux.HostRefusal;
import dev.postcopy.linux.LinuxException;
import dev.postcopy.linux.ThreadPriority;
import dev.postcopy.metrics.Outcome;
import dev.postcopy.qmp.MigrationSettings;
import dev.postcopy.qmp.QmpException;
import dev.postcopy.source.page.SentPages;
import dev.postcopy.source.precopy.PrecopyMode;
import dev.postcopy.wire.ControlFrame;
import io.netty.channel.Channel;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One migration at the source, from the first look at QEMU to the last count. {@link #run} is the
 * whole story, on the caller's thread; event loops only post what happens.
 *
 * <p>Before COMMIT is sent every failure ends with the guest running here; after it the guest never
 * runs here again.
 */
public final class MigrateSession extends SourceSession {

  private static final Logger log = LoggerFactory.getLogger(MigrateSession.class);

  private static final String COMMITTED_ALREADY = "the guest belongs to the destination already";

  private static final Duration PREPARE_PATIENCE = Duration.ofSeconds(30);

  /**
   * For both JVMs to compile what was rehearsed: a compiler that is still at work has one of the
   * processors that the switch-over and the first faults need.
   */
  private static final Duration COMPILING_TIME = Duration.ofMillis(200);

  /** QEMU sends what it keeps to itself (video RAM, firmware) while the guest runs. */
  private static final Duration CONVERGE_PATIENCE = Duration.ofSeconds(30);

  /** The guest stands still meanwhile: longer than this, and it goes on here instead. */
  private static final Duration LOAD_PATIENCE = Duration.ofSeconds(10);

  /** For an operator who cancels: QEMU may take some seconds to set the guest going. */
  private static final Duration CANCEL_PATIENCE = Duration.ofSeconds(30);

  private static final int REST_POLL_MILLIS = 1;

  private final UUID session = UUID.randomUUID();

  /** What an operator is told who cancels; known when the guest's place is. */
  private final CompletableFuture<Optional<String>> cancelAnswer = new CompletableFuture<>();

  private CompletableFuture<Void> warm = CompletableFuture.completedFuture(null);
  private @Nullable Destination destination;
  private @Nullable SourceLink link;

  /** What the other QEMU is likely to read before the guest runs there. */
  private int[] loadingReads = {};

  public MigrateSession(MigrateOptions options, Commands commands) {
    super(SourcePhase.PREPARING, options, commands);
  }

  /**
   * Migrates the guest.
   *
   * @throws Refusal where nothing was touched and nothing will be
   */
  @Override
  public Outcome run() {
    loops.start(ThreadPriority::raise);
    warm = WarmUp.once();
    try (SourceVm vm = SourceVm.attach(loops.control(), options, conversation.queue())) {
      return migrate(vm);
    } finally {
      // Where nothing else has answered, nothing was touched.
      cancelAnswer.complete(Optional.empty());
      loops.shutDown();
    }
  }

  private Outcome migrate(SourceVm vm) {
    try (Journal<SourceEntry> journal =
            Journal.create(
                options.stateFolder(), session.toString(), SourceEntry.KIND, SourceEntry.class);
        Commands.Open _ = commands.open(options.qmpSocket(), this)) {
      try {
        return migrate(vm, journal);
      } finally {
        // The guest's memory is unmapped next: no loop may be reading it any more.
        closeLink();
        letGo();
      }
    } catch (Refusal e) {
      vm.detach();
      throw e;
    }
  }

  /** Leaves nothing of what watched the guest's writes in QEMU. */
  private void letGo() {
    if (precopy != null) {
      precopy.close();
    }
  }

  @Override
  public Optional<String> obstacleToCancel() {
    return conversation.phase().canRollBack() ? Optional.empty() : Optional.of(COMMITTED_ALREADY);
  }

  /** The commit may be under way: only what becomes of the guest is an answer. */
  @Override
  public CompletableFuture<Optional<String>> cancelAndTell() {
    conversation.cancelBeforeCommit();
    return cancelAnswer
        .copy()
        .completeOnTimeout(
            Optional.of("the agent has not come to an end; look at what it says"),
            CANCEL_PATIENCE.toMillis(),
            TimeUnit.MILLISECONDS);
  }

  private Outcome migrate(SourceVm vm, Journal<SourceEntry> journal) {
    SourceEntry entry = vm.entry(session, options, SourceEntry.State.SWITCHING_OVER);
    try {
      boolean ahead = canPrecopy(vm);
      Destination reached = Destination.of(options, conversation::isCancelled);
      destination = reached;
      SourceLink.Parts parts =
          SourceLink.Parts.of(session, options.vm(), options, reached, loops, vm.memory(), limit);
      sent = parts.sent();
      SourceLink opened = prepare(vm, parts);
      begin(journal, ahead ? entry.in(SourceEntry.State.PRECOPYING) : entry);
      vm.applySettings();
      if (ahead) {
        precopy(vm, opened, parts.sent());
      } else {
        conversation.pass(COMPILING_TIME);
      }
      // Somebody may have paused the guest since, or set it going; the stop that counts is to come.
      conversation.noteStop(0);
      entry = entry.running(vm.lookAgain());
      write(journal, journal.prepare(entry));
      SourceEntry committed =
          entry
              .in(SourceEntry.State.COMMITTED)
              .running(entry.run() && !options.precopy().leavePaused());
      // Made before it is needed: its class is not to be loaded while the guest stands still.
      SourceDrain draining =
          new SourceDrain(conversation, parts, journal, committed, opened, this::letGo, this::note);
      Journal.Prepared<SourceEntry> committedLine = journal.prepare(committed);
      switchOver(vm, opened);
      write(journal, committedLine);
      // From here on, whatever happens, the guest does not run here again.
      conversation.advanceTo(SourcePhase.COMMITTED);
      cancelAnswer.complete(Optional.of(COMMITTED_ALREADY));
      drain = draining;
      draining.run();
      return outcome(ExitCode.COMPLETED, "completed", "");
    } catch (MigrationFailedException | QmpException e) {
      return fail(vm, journal, entry, String.valueOf(e.getMessage()));
    } catch (Refusal e) {
      journal.remove();
      cancelAnswer.complete(Optional.empty());
      throw e;
    } catch (RuntimeException | Error e) {
      // Whatever it is: a guest that was stopped must not stay so.
      log.error("unexpected", e);
      return fail(vm, journal, entry, "unexpected " + e);
    }
  }

  /**
   * @throws Refusal where memory shall go ahead whatever it costs, and cannot
   */
  private boolean canPrecopy(SourceVm vm) {
    PrecopyMode mode = options.precopy().mode();
    if (mode instanceof PrecopyMode.Off) {
      return false;
    }
    Optional<String> obstacle = vm.whyNoPrecopy();
    if (obstacle.isPresent() && mode instanceof PrecopyMode.Rounds) {
      throw new Refusal(
          "no memory can go ahead: " + obstacle.get(), "leave --precopy out, or say off");
    }
    obstacle.ifPresent(why -> log.warn("no memory goes ahead: {}", why));
    return obstacle.isEmpty();
  }

  /** Memory goes ahead, with the guest running, for as long as it pays. */
  private void precopy(SourceVm vm, SourceLink opened, SentPages pages)
      throws MigrationFailedException {
    conversation.advanceTo(SourcePhase.PRECOPYING);
    Precopy started;
    try {
      started = Precopy.start(vm, conversation, opened, pages, options.precopy(), this::note);
    } catch (HostRefusal | LinuxException e) {
      if (options.precopy().mode() instanceof PrecopyMode.Auto) {
        log.warn("no memory goes ahead: {}", e.getMessage());
        return;
      }
      throw new MigrationFailedException(String.valueOf(e.getMessage()));
    }
    precopy = started;
    started.run();
  }

  private static void begin(Journal<SourceEntry> journal, SourceEntry entry)
      throws MigrationFailedException {
    try {
      journal.writeAndRehearse(entry);
    } catch (UncheckedIOException e) {
      throw new MigrationFailedException(String.valueOf(e.getMessage()));
    }
  }

  private static void write(Journal<SourceEntry> journal, Journal.Prepared<SourceEntry> entry)
      throws MigrationFailedException {
    try {
      journal.write(entry);
    } catch (UncheckedIOException e) {
      throw new MigrationFailedException(String.valueOf(e.getMessage()));
    }
  }

  /** Two connections, one layout, and a destination that serves faults already. */
  private SourceLink prepare(SourceVm vm, SourceLink.Parts parts) throws MigrationFailedException {
    SourceLink opened;
    try {
      opened = SourceLink.open(parts, conversation, 0, options.connectTimeout());
    } catch (TlsFailedException e) {
      throw e.asRefusal();
    }
    link = opened;
    conversation.expect(ControlFrame.Ready.class, PREPARE_PATIENCE);
    // From READY on the destination expects signs of life, and a busy host's QEMU takes its time.
    opened.pages().startMeasuring();
    warm.join();
    vm.rehearse(conversation);
    loadingReads = vm.findLoadingReads();
    log.info("the destination is ready: {}", vm.memory().layout());
    return opened;
  }

  /**
   * Lets QEMU migrate what the agents do not: its private memory while the guest runs, then, with
   * the guest stopped by QEMU itself, the device state; the destination loads it.
   */
  private void switchOver(SourceVm vm, SourceLink opened) throws MigrationFailedException {
    conversation.advanceTo(SourcePhase.SWITCHING_OVER);
    // The guest waits for this thread too, from its stop to the commit.
    ThreadPriority.raise();
    // What was written to last is taken back at the destination before it loads anything.
    boolean pausing = vm.pauseBeforeDeviceState(precopy != null);
    Channel tunnel =
        DeviceStateTunnel.open(vm.openDeviceState(), opened.bulk(), conversation.queue());
    try {
      vm.startMigrating();
      awaitFinalRam(pausing ? MigrationSettings.PRE_SWITCHOVER : MigrationSettings.DEVICE);
      if (precopy != null) {
        precopy.takeBackLast();
      } else {
        opened.pages().startAnswering(loadingReads);
      }
      if (pausing) {
        vm.sendDeviceState();
      }
      awaitLoaded(opened);
    } finally {
      if (tunnel.isOpen()) {
        DeviceStateTunnel.giveUp(tunnel);
      }
    }
  }

  /**
   * Returns when no vCPU and no device of QEMU writes to the guest's RAM any more.
   *
   * @param state the first one of QEMU's migration in which that is so
   */
  private void awaitFinalRam(String state) throws MigrationFailedException {
    long deadline = System.nanoTime() + CONVERGE_PATIENCE.toNanos();
    while (true) {
      SourceEvent event = conversation.next(deadline, "QEMU to stop the guest");
      if (event instanceof SourceEvent.QemuReported report
          && report.event().migrationStatus().equals(state)) {
        if (conversation.stopNanos() == 0) {
          // A guest that was paused does not stop.
          conversation.noteStop(report.event().arrivalNanos());
        }
        return;
      }
      conversation.unexpected(event);
    }
  }

  /**
   * Returns when the destination could run the guest, and QEMU here holds it to be gone; where
   * little is left of what went ahead, also when that is there.
   */
  private void awaitLoaded(SourceLink opened) throws MigrationFailedException {
    long deadline = conversation.stopNanos() + LOAD_PATIENCE.toNanos();
    boolean given = false;
    boolean loaded = false;
    boolean dropped = precopy == null;
    long restNanos = Long.MIN_VALUE;
    while (!given || !loaded || !dropped || restIsComing(restNanos)) {
      SourceEvent event =
          given && loaded && dropped
              ? conversation.poll(REST_POLL_MILLIS)
              : conversation.next(deadline, "the destination to load the device state");
      if (event instanceof SourceEvent.QemuReported report
          && report.event().migrationStatus().equals("completed")) {
        given = true;
      } else if (event instanceof SourceEvent.Said(ControlFrame.Loaded())) {
        loaded = true;
      } else if (event != null && precopy != null && precopy.isSettled(event)) {
        dropped = true;
        opened.pages().startAnswering(loadingReads);
        if (precopy.fitsDowntime()) {
          restNanos = System.nanoTime() + precopy.downtimeLimitNanos();
          opened.pages().startPushingEarly();
        }
      } else if (event != null) {
        conversation.unexpected(event);
      }
    }
    long latest = Math.max(deadline, restNanos + LOAD_PATIENCE.toNanos());
    if (System.nanoTime() - latest > 0) {
      // An agent that stood still: what it finds said may be long ago, and not true any more.
      throw new MigrationFailedException(
          "the destination loaded the device state, and this agent heard of it too late");
    }
  }

  /**
   * @param untilNanos how long to wait for it
   */
  private boolean restIsComing(long untilNanos) {
    return untilNanos != Long.MIN_VALUE
        && !conversation.isDrained()
        && System.nanoTime() < untilNanos;
  }

  private Outcome fail(
      SourceVm vm, Journal<SourceEntry> journal, SourceEntry entry, String reason) {
    log.info("failed in phase {}: {}", conversation.phase(), reason);
    if (!conversation.phase().canRollBack()) {
      return lost(reason);
    }
    boolean untouched = conversation.phase().isGuestUntouched();
    String rollBackFailure = "";
    try {
      // The guest first: without COMMIT the destination does not run it, whatever it hears and
      // when.
      if (untouched) {
        vm.detach();
      } else {
        vm.rollBack();
        // Behind it, not before: an entry that says ABORTED never makes anybody touch the guest.
        // Whoever finds it knows that this session never commits.
        journal.writeOrWarn(entry.in(SourceEntry.State.ABORTED));
      }
      cancelAnswer.complete(Optional.empty());
    } catch (QmpException e) {
      rollBackFailure =
          (untouched
                  ? "the guest runs on, but QEMU could not be set as before: "
                  : "the guest could not be resumed: ")
              + e.getMessage();
      cancelAnswer.complete(Optional.of(rollBackFailure));
    }
    // Before the journal that knows of it goes.
    letGo();
    boolean told =
        (link != null && link.giveUp(reason, conversation))
            || !conversation.isStateSent()
            || tellAgain(reason);
    if (!rollBackFailure.isEmpty() && vm.isEnding()) {
      if (told) {
        journal.remove();
      } else {
        // There is nobody to set going: only the word to the destination is left to be said.
        journal.writeOrWarn(entry.in(SourceEntry.State.ABORTED));
      }
      return outcome(
          ExitCode.FAILED_AT_SOURCE, "failed", "QEMU at the source is gone, and the guest with it");
    }
    if (!rollBackFailure.isEmpty()) {
      return outcome(
          ExitCode.FAILED_AT_SOURCE, "failed", "%s; and %s".formatted(reason, rollBackFailure));
    }
    if (told) {
      journal.remove();
    }
    return outcome(
        ExitCode.FAILED_AT_SOURCE,
        "failed",
        reason
            + GUEST_IS_HERE
            + (told ? "" : "; the destination waits to hear it: source-agent resume tells it"));
  }

  private boolean tellAgain(String reason) {
    closeLink();
    if (destination == null) {
      throw new IllegalStateException("a destination in doubt that was never reached");
    }
    return AbortDelivery.tell(
        destination.uncancelled(),
        loops.demand(),
        session,
        options.vm(),
        reason,
        AbortDelivery.PATIENCE);
  }

  private void closeLink() {
    SourceLink last = drain == null ? link : drain.link();
    if (last != null) {
      last.close();
    }
  }
}
