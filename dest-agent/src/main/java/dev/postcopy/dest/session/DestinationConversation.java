package dev.postcopy.dest.session;

import dev.postcopy.logging.LogFields;
import dev.postcopy.metrics.PhaseLog;
import dev.postcopy.qmp.QmpClient;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What happens to a migration, in order, and what it means in the phase that the migration is in.
 * Event loops post; the session's thread takes.
 *
 * <p>That thread may be busy for a while, and what waits for it is bounded all the same. Who greets
 * is forgotten when he goes ({@link Greeting}), and few are heard at a time. A link, of which there
 * is one at a time, says each frame of the conversation once on each connection, and once that all
 * is known, that something failed, and that it has ended. {@link QmpClient#reportTo} bounds what
 * QEMU says; all else comes once.
 */
final class DestinationConversation {

  private static final Logger log = LoggerFactory.getLogger(DestinationConversation.class);

  private final BlockingQueue<DestinationEvent> queue = new LinkedBlockingQueue<>();
  private final PhaseLog phases = new PhaseLog();
  private volatile DestinationPhase phase;
  private BooleanSupplier isEnding = () -> false;
  private volatile boolean cancelled;

  DestinationConversation(DestinationPhase phase) {
    this.phase = phase;
    phases.note(phase.name());
  }

  /**
   * @param ending tells whether QEMU ends, and waits for that; its monitor may be closed while it
   *     goes on
   */
  void watch(BooleanSupplier ending) {
    isEnding = ending;
  }

  /** Where events are posted; from any thread. */
  Queue<DestinationEvent> queue() {
    return queue;
  }

  /** When the migration came into each phase. */
  PhaseLog phases() {
    return phases;
  }

  DestinationPhase phase() {
    return phase;
  }

  void advanceTo(DestinationPhase next) {
    phase = phase.advanceTo(next);
    enter();
  }

  /** Every page is here. */
  void complete() {
    phase = DestinationPhase.COMPLETED;
    enter();
  }

  private void enter() {
    phases.note(phase.name());
    LogFields.enter(phase.name());
  }

  /** Somebody wants the migration to end; from any thread. */
  void cancel() {
    if (!cancelled) {
      cancelled = true;
      queue.add(new DestinationEvent.Cancelled());
    }
  }

  /** Why nobody can have the guest stay at the source any more; from any thread. */
  Optional<String> obstacleToCancel() {
    return phase.canBeGivenUp()
        ? Optional.empty()
        : Optional.of("the guest may be running here already");
  }

  boolean isCancelled() {
    return cancelled;
  }

  DestinationEvent take() throws MigrationFailedException {
    while (true) {
      DestinationEvent event = poll(Long.MAX_VALUE);
      if (event != null) {
        return event;
      }
    }
  }

  @Nullable DestinationEvent poll(long millis) throws MigrationFailedException {
    try {
      return queue.poll(millis, TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new MigrationFailedException("interrupted");
    }
  }

  /** What an event means that no step was waiting for. */
  void unexpected(DestinationEvent event) throws MigrationFailedException {
    switch (event) {
      case DestinationEvent.Greeted greeted ->
          throw new IllegalStateException("somebody greeted, and nobody received him: " + greeted);
      case DestinationEvent.Said(ControlFrame.Abort(String reason)) ->
          throw new SourceGaveUpException(reason);
      case DestinationEvent.Said(ControlFrame frame) ->
          throw lost("unexpected " + frame + " in phase " + phase);
      case DestinationEvent.ConnectionLost(ConnectionRole role, CloseCause cause) ->
          throw lost("connection to the source: " + cause.text());
      case DestinationEvent.OutOfMemory(String cause) ->
          throw phase.canBeGivenUp()
              ? new MigrationFailedException(cause)
              : new ScarceException(cause);
      case DestinationEvent.ServingFailed(String cause) ->
          throw new MigrationFailedException(cause);
      case DestinationEvent.QemuGone() -> {
        if (phase.canBeGivenUp() || isEnding.getAsBoolean()) {
          throw new MigrationFailedException(DestinationVm.GONE);
        }
      }
      case DestinationEvent.QemuReported report -> log.debug("QEMU: {}", report.event().name());
      case DestinationEvent.Cancelled() -> {
        if (phase.canBeGivenUp()) {
          throw new MigrationFailedException("cancelled");
        }
        // Nor is it the wish that all end where the source cannot be reached later.
        cancelled = false;
        log.warn("not cancelled: the guest may be running here already");
      }
      case DestinationEvent.NotContinued(String cause) -> log.debug("behind RESUME: {}", cause);
      case DestinationEvent.AllPagesKnown(), DestinationEvent.Continued() -> {}
    }
  }

  /** Until QEMU has loaded the guest a lost link ends the migration; behind it, it does not. */
  private MigrationFailedException lost(String cause) {
    return phase.canBeGivenUp()
        ? new MigrationFailedException(cause)
        : new LinkLostException(cause);
  }
}
