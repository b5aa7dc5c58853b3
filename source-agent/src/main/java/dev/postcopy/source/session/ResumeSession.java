package dev.postcopy.source.session;

import dev.postcopy.cli.ExitCode;
import dev.postcopy.cli.Refusal;
import dev.postcopy.journal.Journal;
import dev.postcopy.journal.SourceEntry;
import dev.postcopy.journal.VmIdentity;
import dev.postcopy.linux.ProcessStart;
import dev.postcopy.linux.ThreadPriority;
import dev.postcopy.metrics.Outcome;
import dev.postcopy.qmp.QmpException;
import dev.postcopy.source.memory.GuestMemory;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Takes a migration up that an agent left behind when it died. Its journal says whose the guest is:
 * before the commit it is set going here again, after it the rest of its memory is sent.
 */
public final class ResumeSession extends SourceSession {

  private static final Logger log = LoggerFactory.getLogger(ResumeSession.class);
  private static final String REASON = "the source agent ended before the commit";

  /**
   * Of a QEMU that is gone a journal may be left, and its socket be another's now. And where only a
   * word to a destination is left to be said no guest waits for it; there may be several such of
   * one QEMU.
   */
  private static final Comparator<Journal.Found<SourceEntry>> MOST_URGENT_FIRST =
      Comparator.<Journal.Found<SourceEntry>, Boolean>comparing(left -> !isAlive(left.entry().vm()))
          .thenComparing(left -> left.entry().state() == SourceEntry.State.ABORTED);

  private final Journal<SourceEntry> left;

  /**
   * @param options its QMP socket and its destination are those of the journal
   * @param left what the agent that died had written
   */
  public ResumeSession(MigrateOptions options, Journal<SourceEntry> left, Commands commands) {
    super(SourcePhase.COMMITTED, options, commands);
    this.left = left;
  }

  /**
   * What there is to take up.
   *
   * @param qmpSocket of the QEMU whose migration is meant; empty: there is only one
   * @throws Refusal where there is none, or there are those of more than one QEMU
   */
  public static Journal<SourceEntry> choose(Path stateFolder, Optional<Path> qmpSocket) {
    Journal.tidy(stateFolder);
    List<Journal.Found<SourceEntry>> found =
        leftIn(stateFolder).stream()
            .filter(left -> qmpSocket.isEmpty() || isOf(qmpSocket.get(), left.entry().vm()))
            .toList();
    if (found.isEmpty()) {
      throw new Refusal(
          "no migration in %s can be taken up".formatted(stateFolder),
          "name the folder of the agent that died with --state-dir");
    }
    long alive = found.stream().filter(left -> isAlive(left.entry().vm())).count();
    long sockets = found.stream().map(left -> left.entry().vm().qmpSocket()).distinct().count();
    if (sockets > 1 && alive != 1) {
      throw new Refusal(
          "%d migrations in %s can be taken up".formatted(found.size(), stateFolder),
          "choose one by the socket of its QEMU with --qmp");
    }
    return found.getFirst().journal();
  }

  /** What agents that died left in a folder, the most urgent first. */
  static List<Journal.Found<SourceEntry>> leftIn(Path stateFolder) {
    return Journal.find(stateFolder, SourceEntry.KIND, SourceEntry.class).stream()
        .sorted(MOST_URGENT_FIRST)
        .toList();
  }

  private static boolean isAlive(VmIdentity vm) {
    return ProcessStart.isAlive(vm.pid(), vm.startTicks());
  }

  private static boolean isOf(Path socket, VmIdentity vm) {
    return Path.of(vm.qmpSocket()).toAbsolutePath().equals(socket.toAbsolutePath());
  }

  /**
   * Brings the migration to its end.
   *
   * @throws Refusal where another process does so
   */
  @Override
  public Outcome run() {
    loops.start(ThreadPriority::raise);
    try (Journal<SourceEntry> journal = left) {
      journal.takeUp();
      SourceEntry entry = journal.read();
      log.info("taking up {} in state {}", journal, entry.state());
      try (Commands.Open _ = commands.open(Path.of(entry.vm().qmpSocket()), this)) {
        return takeUp(journal, entry);
      }
    } finally {
      loops.shutDown();
    }
  }

  private Outcome takeUp(Journal<SourceEntry> journal, SourceEntry entry) {
    return switch (entry.state()) {
      case PRECOPYING -> leaveRunning(journal, entry);
      case SWITCHING_OVER -> rollBack(journal, entry);
      // The guest went on before this was written, and may have moved elsewhere since.
      case ABORTED -> tell(journal, entry);
      case COMMITTED -> sendTheRest(journal, entry);
    };
  }

  @Override
  public Optional<String> obstacleToCancel() {
    return Optional.of("a migration that is taken up ends as its journal says");
  }

  /** The guest was not stopped, and the destination has never said LOADED: it gave up by itself. */
  private Outcome leaveRunning(Journal<SourceEntry> journal, SourceEntry entry) {
    VmIdentity identity = entry.vm();
    if (isAlive(identity)) {
      SourceVm.releaseWatch(identity);
      try {
        SourceVm.leaveRunning(loops.control(), entry);
      } catch (QmpException e) {
        return outcome(
            ExitCode.FAILED_AT_SOURCE,
            "failed",
            "%s; and QEMU could not be set as before: %s".formatted(REASON, e.getMessage()));
      }
    }
    journal.remove();
    return outcome(ExitCode.FAILED_AT_SOURCE, "failed", REASON + GUEST_IS_HERE);
  }

  private Outcome rollBack(Journal<SourceEntry> journal, SourceEntry entry) {
    VmIdentity identity = entry.vm();
    try {
      // Without its QEMU there is no guest; the destination may wait for a word all the same.
      if (isAlive(identity)) {
        SourceVm.setGoing(loops.control(), entry);
        SourceVm.releaseWatch(identity);
      }
    } catch (QmpException e) {
      return outcome(
          ExitCode.FAILED_AT_SOURCE,
          "failed",
          "%s; and the guest could not be resumed: %s".formatted(REASON, e.getMessage()));
    }
    SourceEntry aborted = entry.in(SourceEntry.State.ABORTED);
    journal.writeOrWarn(aborted);
    return tell(journal, aborted);
  }

  private Outcome tell(Journal<SourceEntry> journal, SourceEntry entry) {
    boolean told = false;
    try {
      told =
          AbortDelivery.tell(
              destination(entry),
              loops.demand(),
              entry.session(),
              entry.vmName(),
              REASON,
              AbortDelivery.PATIENCE);
    } catch (Refusal e) {
      // No reason to have the guest wait: it runs by now.
      log.warn("{}", e.getMessage());
    }
    if (told) {
      journal.remove();
    }
    return outcome(
        ExitCode.FAILED_AT_SOURCE,
        "failed",
        REASON
            + (isAlive(entry.vm()) ? GUEST_IS_HERE : "; and its QEMU is gone, with the guest")
            + (told ? "" : "; the destination could not be told"));
  }

  /** One that is not as in the journal may be mistyped: then its name has to have an address. */
  private Destination destination(SourceEntry entry) {
    return options.destination().toString().equals(entry.destination())
        ? Destination.known(options, conversation::isCancelled)
        : Destination.of(options, conversation::isCancelled);
  }

  private Outcome sendTheRest(Journal<SourceEntry> journal, SourceEntry entry) {
    VmIdentity identity = entry.vm();
    if (!isAlive(identity)) {
      return outcome(
          ExitCode.INCOMPLETE_AT_DESTINATION,
          "incomplete",
          "QEMU at the source ended while no agent had its RAM mapped; what the destination does"
              + " not have is lost");
    }
    if (SourceVm.ranAgain(loops.control(), identity)) {
      // Its memory is not any more what the destination has a part of; and COMMIT would let it run
      // at both.
      return outcome(
          ExitCode.INCOMPLETE_AT_DESTINATION,
          "incomplete",
          "the guest was given to the destination, and has run here again: nothing more is sent; decide"
              + " by hand where it shall go on, and quit the other QEMU");
    }
    try (GuestMemory memory = GuestMemory.open(identity.pid(), identity.backends())) {
      SourceLink.Parts parts =
          SourceLink.Parts.of(
              entry.session(), entry.vmName(), options, destination(entry), loops, memory, limit);
      sent = parts.sent();
      SourceDrain draining =
          new SourceDrain(
              conversation,
              parts,
              journal,
              entry,
              null,
              () -> SourceVm.releaseWatch(identity),
              this::note);
      drain = draining;
      try {
        draining.run();
        return outcome(ExitCode.COMPLETED, "completed", "");
      } catch (MigrationFailedException e) {
        SourceVm.releaseWatch(identity);
        return lost(String.valueOf(e.getMessage()));
      } catch (RuntimeException | Error e) {
        // The guest is the destination's, whatever it is.
        log.error("unexpected", e);
        return lost("unexpected " + e);
      } finally {
        SourceLink last = draining.link();
        if (last != null) {
          last.close();
        }
      }
    }
  }
}
