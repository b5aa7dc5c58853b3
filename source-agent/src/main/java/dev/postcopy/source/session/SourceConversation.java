package dev.postcopy.source.session;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import dev.postcopy.logging.LogFields;
import dev.postcopy.metrics.PhaseLog;
import dev.postcopy.qmp.QmpClient;
import dev.postcopy.transport.tls.TlsFailure;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import java.time.Duration;
import java.util.Queue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What happens to a migration, in order, and what it means in the phase that the migration is in.
 * Event loops post; the session's thread takes, and waits for what comes next in its story.
 *
 * <p>That thread may be busy for a while, and what waits for it is bounded all the same. A link, of
 * which there is one at a time, says each frame of the conversation once on each connection, that
 * it is drained, and that it has ended; {@link QmpClient#reportTo} bounds what QEMU says; all else
 * comes once.
 */
final class SourceConversation {

  private static final Logger log = LoggerFactory.getLogger(SourceConversation.class);

  private final BlockingQueue<SourceEvent> queue = new LinkedBlockingQueue<>();
  private final HostAndPort destination;
  private final PhaseLog phases = new PhaseLog();
  private volatile SourcePhase phase;
  private volatile boolean cancelled;
  private @Nullable ControlFrame early;
  private boolean drained;
  private boolean stateSent;
  private boolean heardAbort;
  private long stopNanos;

  /**
   * @param destination where the destination agent listens, for messages
   */
  SourceConversation(SourcePhase phase, HostAndPort destination) {
    this.phase = phase;
    phases.note(phase.name());
    this.destination = destination;
  }

  /** Where events are posted; from any thread. */
  Queue<SourceEvent> queue() {
    return queue;
  }

  /** When the migration came into each phase. */
  PhaseLog phases() {
    return phases;
  }

  SourcePhase phase() {
    return phase;
  }

  synchronized void advanceTo(SourcePhase next) {
    phase = phase.advanceTo(next);
    if (next == SourcePhase.COMMITTED) {
      // Who asked for an end until now wanted the guest here: he has been refused.
      cancelled = false;
    }
    enter();
  }

  /** Both sides know that every page is across. */
  void complete() {
    phase = SourcePhase.COMPLETED;
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
      queue.add(new SourceEvent.Cancelled());
    }
  }

  /**
   * Somebody wants the guest here; from any thread. Behind the commit that is refused, and must not
   * stay as the wish that the drain end when the destination cannot be reached.
   */
  synchronized void cancelBeforeCommit() {
    if (phase.canRollBack()) {
      cancel();
    }
  }

  boolean isCancelled() {
    return cancelled;
  }

  /** Whether every page was sent on the newest link, and acknowledged. */
  boolean isDrained() {
    return drained;
  }

  /** A new link: nothing was sent on it yet. */
  void startLink() {
    drained = false;
    early = null;
  }

  /**
   * Whether QEMU's device state went out to its last byte: then the destination may be in doubt.
   */
  boolean isStateSent() {
    return stateSent || queue.stream().anyMatch(SourceEvent.DeviceStateSent.class::isInstance);
  }

  /** When the guest stopped, by System.nanoTime; 0 where it was not seen to. */
  long stopNanos() {
    return stopNanos;
  }

  void noteStop(long nanos) {
    stopNanos = nanos;
  }

  /** Waits for a frame of {@code type}; anything that means failure ends the migration. */
  <T extends ControlFrame> T expect(Class<T> type, Duration patience)
      throws MigrationFailedException {
    if (type.isInstance(early)) {
      T frame = type.cast(early);
      early = null;
      return frame;
    }
    long deadline = System.nanoTime() + patience.toNanos();
    while (true) {
      SourceEvent event = next(deadline, type.getSimpleName());
      if (event instanceof SourceEvent.Said(ControlFrame frame) && type.isInstance(frame)) {
        return type.cast(frame);
      }
      if (event instanceof SourceEvent.Said(ControlFrame frame) && mayOvertake(frame)) {
        early = frame;
      } else {
        unexpected(event);
      }
    }
  }

  /** These come on the demand connection, and bulk's WELCOME on the other, read by another loop. */
  private static boolean mayOvertake(ControlFrame frame) {
    return frame instanceof ControlFrame.Ready || frame instanceof ControlFrame.ReceivedEnd;
  }

  /** Waits for the destination to say that it has given up, or to be gone. */
  boolean awaitAbort(Duration patience) {
    if (heardAbort) {
      return true;
    }
    long deadline = System.nanoTime() + patience.toNanos();
    try {
      while (true) {
        SourceEvent event = next(deadline, "the destination to give up");
        if (event instanceof SourceEvent.Said(ControlFrame.Abort abort)) {
          return true;
        }
        if (event instanceof SourceEvent.ConnectionLost) {
          return false;
        }
        stateSent |= event instanceof SourceEvent.DeviceStateSent;
      }
    } catch (MigrationFailedException e) {
      return false;
    }
  }

  /** Waits for {@code duration}, and for nothing in it. */
  void pass(Duration duration) throws MigrationFailedException {
    long endNanos = System.nanoTime() + duration.toNanos();
    for (long restNanos = duration.toNanos();
        restNanos > 0;
        restNanos = endNanos - System.nanoTime()) {
      SourceEvent event = poll(TimeUnit.NANOSECONDS.toMillis(restNanos) + 1);
      if (event != null) {
        unexpected(event);
      }
    }
  }

  SourceEvent next(long deadlineNanos, String awaited) throws MigrationFailedException {
    long millis = TimeUnit.NANOSECONDS.toMillis(deadlineNanos - System.nanoTime());
    SourceEvent event = poll(Math.max(0, millis));
    if (event == null) {
      throw lost("no answer while waiting for " + awaited);
    }
    return event;
  }

  @Nullable SourceEvent poll(long millis) throws MigrationFailedException {
    try {
      return queue.poll(millis, TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new MigrationFailedException("interrupted");
    }
  }

  /** What an event means that no step was waiting for. */
  void unexpected(SourceEvent event) throws MigrationFailedException {
    switch (event) {
      case SourceEvent.QemuReported report -> {
        if (report.event().name().equals("STOP")) {
          stopNanos = report.event().arrivalNanos();
        } else if (report.event().name().equals("RESUME") && !phase.canRollBack()) {
          throw new MigrationFailedException(
              "the guest was given to the destination, and runs at the source again: what was not"
                  + " sent by then cannot be trusted");
        } else if (report.event().migrationStatus().equals("failed") && phase.canRollBack()) {
          throw new MigrationFailedException("QEMU could not write its device state");
        }
      }
      case SourceEvent.Said(ControlFrame.Refuse(String reason, String remedy)) -> {
        if (phase.isUntouched()) {
          throw new Refusal("the destination refuses: " + reason, remedy);
        }
        String refused = "the destination refuses: " + reason;
        throw phase.canRollBack()
            ? new MigrationFailedException(refused)
            : new UnwelcomeException(refused);
      }
      case SourceEvent.Said(ControlFrame.Abort(String reason)) -> {
        heardAbort = true;
        throw new MigrationFailedException("the destination gave up: " + reason);
      }
      case SourceEvent.Said(ControlFrame frame) ->
          throw new MigrationFailedException("unexpected " + frame + " in phase " + phase);
      case SourceEvent.ConnectionLost(CloseCause cause) -> {
        if (phase.isUntouched() && cause instanceof CloseCause.Violation) {
          throw new Refusal(
              "%s: %s".formatted(destination, cause.text()),
              "check that a destination agent of the same version listens there");
        }
        if (phase.isUntouched() && cause instanceof CloseCause.Broken(TlsFailure failure)) {
          throw new Refusal(failure.reason(), failure.remedy());
        }
        throw lost("connection to the destination: " + cause.text());
      }
      case SourceEvent.QemuGone() -> {
        if (phase.canRollBack()) {
          throw new MigrationFailedException("QEMU at the source is gone");
        }
        log.info("QEMU has ended; its RAM is still mapped here");
      }
      case SourceEvent.Cancelled() -> {
        if (phase.canRollBack()) {
          throw new MigrationFailedException("cancelled");
        }
        log.warn("not cancelled: the guest belongs to the destination, its memory goes on moving");
      }
      case SourceEvent.DeviceStateSent(long byteLength) -> {
        stateSent = true;
        log.info("{} bytes of device state sent", byteLength);
      }
      case SourceEvent.ServingFailed(String cause) -> throw new MigrationFailedException(cause);
      case SourceEvent.Drained() -> drained = true;
      // Of a turn that nobody waits for any more.
      case SourceEvent.Settled(int turn) -> log.debug("turn {} settled", turn);
    }
  }

  /** Before the commit a lost link ends the migration; behind it, it does not. */
  private MigrationFailedException lost(String cause) {
    return phase.canRollBack() ? new MigrationFailedException(cause) : new LinkLostException(cause);
  }
}
