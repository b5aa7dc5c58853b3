package dev.postcopy.dest.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.daemon.Migration;
import dev.postcopy.metrics.FaultTimes;
import dev.postcopy.metrics.MigrationProgress;
import dev.postcopy.metrics.MigrationView;
import dev.postcopy.transport.MigrationLoops;
import io.netty.channel.IoEventLoop;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.Optional;
import java.util.Queue;
import java.util.UUID;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** A migration at the destination, begun or taken up. */
abstract sealed class DestinationSession implements Migration
    permits ReceiveSession, ResumeSession {

  final ReceiveOptions options;
  final DestinationConversation conversation;
  final MigrationLoops loops;
  final FaultTimes times = new FaultTimes();

  /** Told where it listens, once; null: it is handed its {@link #greetings}. */
  final @Nullable Consumer<InetSocketAddress> onListening;

  /** Null before faults are served. */
  volatile @Nullable FaultServing serving;

  DestinationSession(
      DestinationPhase phase,
      ReceiveOptions options,
      @Nullable Consumer<InetSocketAddress> onListening) {
    this.options = options;
    this.conversation = new DestinationConversation(phase);
    this.loops = new MigrationLoops(options.qmpSocket());
    this.onListening = onListening;
  }

  /**
   * Asks for the guest to stay where it is; from any thread. Once QEMU has loaded its state the
   * source may have committed: then {@link #run} goes on.
   */
  @Override
  public final void cancel() {
    conversation.cancel();
  }

  @Override
  public final Optional<String> obstacleToCancel() {
    return conversation.obstacleToCancel();
  }

  @Override
  public final List<IoEventLoop> loops() {
    return loops.all();
  }

  @Override
  public final MigrationProgress progress() {
    return DestinationReport.progress(conversation.phase(), serving);
  }

  @Override
  public final MigrationView view(String vm) {
    return new MigrationView("destination", vm, conversation.phases(), this::progress, times);
  }

  /**
   * Begins to listen, where it does that itself.
   *
   * @param known the migration that is taken up; empty: whoever comes first begins one
   * @return null where it is handed its {@link #greetings}
   * @throws Refusal where the port is taken
   */
  final @Nullable Gate openGate(Optional<UUID> known) {
    if (onListening == null) {
      return null;
    }
    Gate gate = Gate.ofOne(loops.control(), options.admission(), greetings());
    known.ifPresent(session -> gate.expect(session, greetings()));
    onListening.accept(gate.listen(options.listen()));
    return gate;
  }

  /** From now on {@code session} is a migration under way for a gate of its own. */
  final void expectAgain(@Nullable Gate gate, UUID session) {
    if (gate != null) {
      loops.control().execute(() -> gate.expect(session, greetings()));
    }
  }

  /** Where greetings of this migration are posted, by a gate that others use as well. */
  final Queue<DestinationEvent> greetings() {
    return conversation.queue();
  }

  /** Sends those away who have greeted and were not heard; when it has ended. */
  final void refuseWaiting(Refusal refusal) {
    for (DestinationEvent event = greetings().poll(); event != null; event = greetings().poll()) {
      if (event instanceof DestinationEvent.Greeted greeted) {
        Gate.refuse(greeted, refusal);
      }
    }
  }
}
