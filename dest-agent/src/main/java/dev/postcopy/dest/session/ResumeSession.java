package dev.postcopy.dest.session;

import dev.postcopy.cli.ExitCode;
import dev.postcopy.cli.Refusal;
import dev.postcopy.dest.attach.QemuUserfaultfd;
import dev.postcopy.dest.page.PageStates;
import dev.postcopy.journal.DestinationEntry;
import dev.postcopy.journal.Journal;
import dev.postcopy.linux.HostRefusal;
import dev.postcopy.linux.LinuxException;
import dev.postcopy.linux.ThreadPriority;
import dev.postcopy.metrics.Outcome;
import dev.postcopy.qmp.QmpException;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.Standing;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.Supplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Takes a migration up that an agent left behind when it died. QEMU still has the userfaultfd and
 * the RAM files what arrived: nothing is read as zeros meanwhile, threads wait. What is present is
 * found in the files, the source sends the rest.
 */
public final class ResumeSession extends DestinationSession {

  private static final Logger log = LoggerFactory.getLogger(ResumeSession.class);

  /** For a source that has greeted; it is heard again whenever it comes. */
  private static final long LINGER_MILLIS = 10_000;

  private static final String AGENT_ENDED = "the destination agent ended while QEMU was loading";

  private final Supplier<Journal<DestinationEntry>> left;

  /**
   * One that listens itself.
   *
   * @param options its QMP socket tells which migration
   * @param onListening told where it listens, once
   */
  public ResumeSession(ReceiveOptions options, Consumer<InetSocketAddress> onListening) {
    super(DestinationPhase.LOADED, options, onListening);
    this.left = () -> choose(options);
  }

  /**
   * One that is handed its {@link #greetings}.
   *
   * @param options its QMP socket is that of the journal
   */
  ResumeSession(ReceiveOptions options, Journal<DestinationEntry> journal) {
    super(DestinationPhase.LOADED, options, null);
    this.left = () -> journal;
  }

  /**
   * Brings the migration to its end.
   *
   * @throws Refusal where there is none to take up, or another process does so
   */
  @Override
  public Outcome run() {
    loops.start(ThreadPriority::raise);
    try (Journal<DestinationEntry> journal = left.get()) {
      journal.takeUp();
      DestinationEntry entry = journal.read();
      log.info("taking up {} in state {}", journal, entry.state());
      if (!EarlierMigrations.isAlive(entry.vm())) {
        return withoutQemu(journal, entry);
      }
      try {
        return withQemu(journal, entry);
      } catch (LinuxException | HostRefusal e) {
        if (EarlierMigrations.isAlive(entry.vm())) {
          throw e;
        }
        log.info("QEMU has ended while it was looked at: {}", e.getMessage());
        return withoutQemu(journal, entry);
      }
    } finally {
      loops.shutDown();
    }
  }

  private Outcome withQemu(Journal<DestinationEntry> journal, DestinationEntry entry) {
    try (DestinationVm vm = DestinationVm.find(loops.control(), entry, conversation.queue())) {
      conversation.watch(vm::isEnding);
      return switch (entry.state()) {
        case LOADING -> abandon(vm, journal, entry);
        case LOADED, COMMITTED, RUNNING -> serve(vm, journal, entry);
        case COMPLETED -> {
          vm.letGoOfLeft(entry.userfaultfd());
          yield confirm(journal, entry);
        }
      };
    }
  }

  private static Journal<DestinationEntry> choose(ReceiveOptions options) {
    Journal.tidy(options.stateFolder());
    Path socket = options.qmpSocket().toAbsolutePath();
    return EarlierMigrations.in(options.stateFolder()).stream()
        .filter(left -> Path.of(left.entry().vm().qmpSocket()).equals(socket))
        .findFirst()
        .map(Journal.Found::journal)
        .orElseThrow(
            () ->
                new Refusal(
                    "no migration of %s in %s can be taken up"
                        .formatted(options.qmpSocket(), options.stateFolder()),
                    "name the folder of the agent that died with --state-dir, or begin with"
                        + " dest-agent receive"));
  }

  private Outcome withoutQemu(Journal<DestinationEntry> journal, DestinationEntry entry) {
    return switch (entry.state()) {
      case LOADING -> {
        journal.remove();
        yield DestinationReport.outcome(
            ExitCode.FAILED_AT_SOURCE,
            "failed",
            DestinationVm.GONE + "; the guest is at the source",
            null,
            null);
      }
      case COMPLETED -> confirm(journal, entry);
      case LOADED, COMMITTED, RUNNING -> {
        Reception reception = reception(entry);
        try (var _ = openGate(Optional.of(entry.session()))) {
          yield tellTheSource(journal, reception, entry.state());
        }
      }
    };
  }

  private Reception reception(DestinationEntry entry) {
    Reception reception = new Reception(conversation, loops);
    reception.expect(entry.session(), entry.attempt());
    return reception;
  }

  /** Every page is here, and QEMU is QEMU's: only the source may not know. */
  private Outcome confirm(Journal<DestinationEntry> journal, DestinationEntry entry) {
    DestinationEntry left = entry.letGo();
    journal.writeOrWarn(left);
    Reception reception = reception(entry);
    try (var _ = openGate(Optional.of(entry.session()))) {
      Confirmation confirmation = new Confirmation(conversation, reception, journal, left, null);
      confirmation.await();
      confirmation.close();
      if (confirmation.isLastWordHeard()) {
        journal.remove();
      }
      conversation.complete();
      return confirmation.outcome(null);
    }
  }

  /**
   * Nothing can run the guest here any more. The source has to hear that: it may have the guest and
   * wait to say so; or it has committed, and would try for ever to send the rest.
   */
  private Outcome tellTheSource(
      Journal<DestinationEntry> journal, Reception reception, DestinationEntry.State state) {
    Standing standing =
        state == DestinationEntry.State.LOADED ? Standing.LOADED : Standing.COMMITTED;
    try {
      log.info("QEMU is gone; waiting for the source, to tell it");
      DestinationLink source = null;
      while (source == null) {
        try {
          source =
              reception.awaitAgain(
                  standing, onListening == null ? LINGER_MILLIS : Long.MAX_VALUE, journal::remove);
          if (source == null) {
            return withoutQemu("; the source went away before it was told");
          }
        } catch (LinkLostException e) {
          log.warn("{}; waiting for the source to come back", e.getMessage());
        }
      }
      // It has opened its second connection, so it has committed: else it would have said ABORT.
      source.demand().sendLast(new ControlFrame.Abort(DestinationVm.GONE));
      source.close();
      return withoutQemu("; what the source has left is still there");
    } catch (SourceGaveUpException e) {
      return DestinationReport.outcome(
          ExitCode.FAILED_AT_SOURCE,
          "failed",
          "%s; %s, and the guest is at the source".formatted(e.getMessage(), DestinationVm.GONE),
          null,
          null);
    } catch (MigrationFailedException e) {
      return withoutQemu("; " + e.getMessage());
    }
  }

  private static Outcome withoutQemu(String more) {
    return DestinationReport.outcome(
        ExitCode.INCOMPLETE_AT_DESTINATION, "incomplete", DestinationVm.GONE + more, null, null);
  }

  private Outcome serve(
      DestinationVm vm, Journal<DestinationEntry> journal, DestinationEntry entry) {
    try (QemuUserfaultfd userfaultfd = vm.retakeUserfaultfd(entry.userfaultfd())) {
      FaultServing served = serving(vm, userfaultfd);
      serving = served;
      try {
        served.serveAlone(loops.demand());
        // What waited before faults again.
        userfaultfd.wakeAll();
        return holdOn(vm, journal, entry, userfaultfd, served);
      } finally {
        served.stop();
      }
    }
  }

  private Outcome holdOn(
      DestinationVm vm,
      Journal<DestinationEntry> journal,
      DestinationEntry entry,
      QemuUserfaultfd userfaultfd,
      FaultServing served) {
    if (entry.state() != DestinationEntry.State.LOADED) {
      conversation.advanceTo(DestinationPhase.DRAINING);
    }
    Reception reception = reception(entry);
    DestinationHold holding =
        new DestinationHold(
            conversation,
            reception,
            vm,
            served,
            userfaultfd,
            journal,
            options.peerPatience(),
            entry,
            null);
    try (var _ = openGate(Optional.of(entry.session()))) {
      try {
        return holding.run();
      } catch (SourceGaveUpException e) {
        return fail(vm, journal, holding, reception, String.valueOf(e.getMessage()), true);
      } catch (MigrationFailedException
          | QmpException
          | LinuxException
          | Refusal
          | HostRefusal
          | UncheckedIOException e) {
        // A refusal is that of QEMU's monitor: whose guest it is, is decided by now.
        return fail(vm, journal, holding, reception, String.valueOf(e.getMessage()), false);
      }
    } finally {
      DestinationLink last = holding.link();
      if (last != null) {
        last.close();
      }
    }
  }

  private FaultServing serving(DestinationVm vm, QemuUserfaultfd userfaultfd) {
    PageStates pages = new PageStates(vm.ram().layout().pageCount());
    vm.ram().forEachPresent(pages::addPresent);
    log.info("{} of {} pages are here", pages.dataPages(), pages.pageCount());
    return new FaultServing(
        vm.ram(), userfaultfd.userfaultfd(), pages, times, conversation.queue()::add);
  }

  /**
   * @param atSource whether the source itself said that it has the guest
   */
  private Outcome fail(
      DestinationVm vm,
      Journal<DestinationEntry> journal,
      DestinationHold holding,
      Reception reception,
      String reason,
      boolean atSource) {
    DestinationLink last = holding.link();
    if (last == null && vm.hasExited() && !atSource) {
      return tellTheSource(journal, reception, holding.entry().state());
    }
    boolean loaded = conversation.phase() == DestinationPhase.LOADED;
    if (loaded && !atSource) {
      return holding.leaveInDoubt(reason);
    }
    if (last != null) {
      last.giveUp(reason);
    }
    return loaded
        ? giveUp(vm, journal, holding.entry(), reason)
        : DestinationReport.incomplete(reason, holding.serving(), holding.confirmed());
  }

  /** An agent ended while QEMU was loading, so the guest is at the source. */
  private Outcome abandon(
      DestinationVm vm, Journal<DestinationEntry> journal, DestinationEntry entry) {
    // Of a QEMU that was to take another guest in since then nothing is touched.
    if (EarlierMigrations.hasAnother(entry.session(), entry.vm(), options.stateFolder())) {
      journal.remove();
      return DestinationReport.givenUp(
          AGENT_ENDED, "and this QEMU has begun another migration", null);
    }
    return giveUp(vm, journal, entry, AGENT_ENDED);
  }

  /** The guest is at the source for certain: this QEMU is not needed, and may wait for a page. */
  private Outcome giveUp(
      DestinationVm vm, Journal<DestinationEntry> journal, DestinationEntry entry, String reason) {
    FaultServing served = serving;
    if (served != null) {
      served.stop();
    }
    // First, and not while it quits: a monitor that waits for a page does not even greet.
    vm.releaseLeft(entry.userfaultfd());
    // Whoever takes this up again must not take another userfaultfd for ours.
    journal.writeOrWarn(entry.letGo());
    String fate;
    try {
      String state = vm.runState();
      if (isAnothers(state, entry)) {
        fate = "this QEMU is in state '%s', so it has another and was left alone".formatted(state);
        journal.remove();
      } else {
        boolean quits = vm.quit(() -> {});
        fate = vm.fate(quits);
        if (quits) {
          journal.remove();
        }
      }
    } catch (Refusal | QmpException e) {
      log.warn("QEMU could not be asked whether it has a guest: {}", e.getMessage());
      fate =
          "this QEMU does not answer, so it was left alone: end process %d where no guest runs in it"
              .formatted(entry.vm().pid());
    }
    return DestinationReport.givenUp(reason, fate, serving);
  }

  /** Of a QEMU that had no userfaultfd of ours yet nothing was asked, so it waits for a guest. */
  private static boolean isAnothers(String state, DestinationEntry entry) {
    return state.equals("running") || (entry.userfaultfd() < 0 && !state.equals("inmigrate"));
  }
}
