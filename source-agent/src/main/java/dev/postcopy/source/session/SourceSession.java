package dev.postcopy.source.session;

import dev.postcopy.cli.ExitCode;
import dev.postcopy.daemon.Migration;
import dev.postcopy.metrics.FaultTimes;
import dev.postcopy.metrics.MigrationProgress;
import dev.postcopy.metrics.MigrationView;
import dev.postcopy.metrics.Outcome;
import dev.postcopy.source.page.BandwidthLimit;
import dev.postcopy.source.page.SentPages;
import dev.postcopy.transport.MigrationLoops;
import io.netty.channel.IoEventLoop;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A migration at the source, begun or taken up. */
public abstract sealed class SourceSession implements Migration
    permits MigrateSession, ResumeSession {

  final MigrateOptions options;
  final Commands commands;
  final SourceConversation conversation;
  final MigrationLoops loops;
  final BandwidthLimit limit;
  private volatile MigrationProgress latest;

  /** How a reason ends where nothing was lost. */
  static final String GUEST_IS_HERE = "; the guest is at the source as before";

  /** Null before the guest's memory is looked at. */
  @Nullable SentPages sent;

  /** Null before memory goes ahead, and where none does. */
  @Nullable Precopy precopy;

  /** Null before the commit. */
  @Nullable SourceDrain drain;

  SourceSession(SourcePhase phase, MigrateOptions options, Commands commands) {
    this.options = options;
    this.commands = commands;
    this.conversation = new SourceConversation(phase, options.destination());
    this.loops = new MigrationLoops(options.qmpSocket());
    this.limit = options.limit();
    this.latest = MigrationProgress.none(phase.name());
  }

  @Override
  public final void cancel() {
    conversation.cancel();
  }

  /**
   * Changes what bulk may use of the link; from any thread.
   *
   * @param bytesPerSecond positive; Long.MAX_VALUE: all
   */
  public final void setMaxBandwidth(long bytesPerSecond) {
    limit.change(bytesPerSecond);
  }

  /** Keeps how far it is, for whoever asks. */
  final void note(MigrationProgress progress) {
    latest = progress;
  }

  @Override
  public final List<IoEventLoop> loops() {
    return loops.all();
  }

  @Override
  public final MigrationProgress progress() {
    return latest.in(conversation.phase().name());
  }

  @Override
  public final MigrationView view(String vm) {
    return new MigrationView("source", vm, conversation.phases(), this::progress, new FaultTimes());
  }

  final Outcome outcome(ExitCode code, String status, String reason) {
    return SourceReport.outcome(code, status, reason, sent, precopy, drain);
  }

  /** The guest was handed over, and some of its memory was not. */
  final Outcome lost(String reason) {
    if (drain != null) {
      drain.sayLast(reason);
    }
    return outcome(
        ExitCode.INCOMPLETE_AT_DESTINATION,
        "incomplete",
        reason + "; the guest belongs to the destination");
  }
}
