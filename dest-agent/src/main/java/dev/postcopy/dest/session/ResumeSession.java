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
import java.net.InetSocketAddress;
import java.nio.file.Path;
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

  private static final String QEMU_GONE = "QEMU at the destination is gone";

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
      try (DestinationVm vm = DestinationVm.find(loops.control(), entry, conversation.queue())) {
        conversation.watch(vm::isEnding);
        return switch (entry.state()) {
          case LOADING -> abandon(vm, journal, entry);
          case LOADED, COMMITTED, RUNNING -> holdOn(vm, journal, entry);
          case COMPLETED -> {
            vm.letGoOfLeft(entry.userfaultfd());
            yield confirm(journal, entry);
          }
        };
      }
    } finally {
      loops.shutDown();
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
            QEMU_GONE + "; the guest is at the source",
            null,
            null);
      }
      case COMPLETED -> confirm(journal, entry);
      case LOADED -> tellTheSource(journal, entry, Standing.LOADED);
      case COMMITTED, RUNNING -> tellTheSource(journal, entry, Standing.COMMITTED);
    };
  }

  /** Every page is here, and QEMU is QEMU's: only the source may not know. */
  private Outcome confirm(Journal<DestinationEntry> journal, DestinationEntry entry) {
    DestinationEntry left = entry.letGo();
    journal.writeOrWarn(left);
    Reception reception = new Reception(conversation, loops);
    reception.expect(entry.session(), entry.attempt());
    try (Gate gate = Gate.ofOne(loops.control(), options.admission(), conversation.queue())) {
      listen(gate);
      Confirmation confirmation = new Confirmation(conversation, reception, journal, left, null);
      ControlFrame.Confirmed confirmed = confirmation.await();
      confirmation.close();
      if (confirmed != null) {
        journal.remove();
      }
      conversation.complete();
      return DestinationReport.outcome(ExitCode.COMPLETED, "completed", "", null, confirmed);
    }
  }

  private void listen(Gate gate) {
    if (onListening != null) {
      onListening.accept(gate.listen(options.listen()));
    }
  }

  /**
   * Nothing can run the guest here any more. The source has to hear that: it may have the guest and
   * wait to say so; or it has committed, and would try for ever to send the rest.
   */
  private Outcome tellTheSource(
      Journal<DestinationEntry> journal, DestinationEntry entry, Standing standing) {
    Reception reception = new Reception(conversation, loops);
    try (Gate gate = Gate.ofOne(loops.control(), options.admission(), conversation.queue())) {
      reception.expect(entry.session(), entry.attempt());
      listen(gate);
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
      source.demand().sendLast(new ControlFrame.Abort(QEMU_GONE));
      source.close();
      return withoutQemu("; what the source has left is still there");
    } catch (SourceGaveUpException e) {
      return DestinationReport.outcome(
          ExitCode.FAILED_AT_SOURCE,
          "failed",
          "%s; %s, and the guest is at the source".formatted(e.getMessage(), QEMU_GONE),
          null,
          null);
    } catch (MigrationFailedException e) {
      return withoutQemu("; " + e.getMessage());
    }
  }

  private static Outcome withoutQemu(String more) {
    return DestinationReport.outcome(
        ExitCode.INCOMPLETE_AT_DESTINATION, "incomplete", QEMU_GONE + more, null, null);
  }

  private Outcome holdOn(
      DestinationVm vm, Journal<DestinationEntry> journal, DestinationEntry entry) {
    Reception reception = new Reception(conversation, loops);
    try (Gate gate = Gate.ofOne(loops.control(), options.admission(), conversation.queue());
        QemuUserfaultfd userfaultfd = vm.retakeUserfaultfd(entry.userfaultfd())) {
      FaultServing served = serve(vm, userfaultfd);
      serving = served;
      reception.expect(entry.session(), entry.attempt());
      if (entry.state() != DestinationEntry.State.LOADED) {
        conversation.advanceTo(DestinationPhase.DRAINING);
      }
      listen(gate);
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
      try {
        holding.run();
        return DestinationReport.outcome(
            ExitCode.COMPLETED, "completed", "", served, holding.confirmed());
      } catch (SourceGaveUpException e) {
        return fail(vm, journal, holding, String.valueOf(e.getMessage()), true);
      } catch (MigrationFailedException | QmpException | LinuxException | Refusal | HostRefusal e) {
        // A refusal is that of QEMU's monitor: whose guest it is, is decided by now.
        return fail(vm, journal, holding, String.valueOf(e.getMessage()), false);
      } finally {
        DestinationLink last = holding.link();
        if (last != null) {
          last.close();
        }
      }
    }
  }

  /** Faults are served from here on; what waited before faults again. */
  private FaultServing serve(DestinationVm vm, QemuUserfaultfd userfaultfd) {
    PageStates pages = new PageStates(vm.ram().layout().pageCount());
    vm.ram().forEachPresent(pages::addPresent);
    log.info("{} of {} pages are here", pages.dataPages(), pages.pageCount());
    FaultServing served =
        new FaultServing(
            vm.ram(), userfaultfd.userfaultfd(), pages, times, conversation.queue()::add);
    served.serveAlone(loops.demand());
    userfaultfd.wakeAll();
    return served;
  }

  /**
   * @param atSource whether the source itself said that it has the guest
   */
  private Outcome fail(
      DestinationVm vm,
      Journal<DestinationEntry> journal,
      DestinationHold holding,
      String reason,
      boolean atSource) {
    DestinationLink last = holding.link();
    if (last != null) {
      last.giveUp(reason);
    }
    FaultServing served = serving;
    if (served == null) {
      throw new IllegalStateException("nothing was served");
    }
    served.stop();
    if (conversation.phase() != DestinationPhase.LOADED) {
      return DestinationReport.incomplete(reason, served, holding.confirmed());
    }
    return atSource
        ? giveUp(vm, journal, reason)
        : DestinationReport.inDoubt(reason, served, holding.confirmed());
  }

  /** An agent ended while QEMU was loading, so the guest is at the source. */
  private Outcome abandon(
      DestinationVm vm, Journal<DestinationEntry> journal, DestinationEntry entry) {
    // Of a QEMU that was to take another guest in since then nothing is touched.
    if (EarlierMigrations.hasAnother(entry.session(), entry.vm(), options.stateFolder())) {
      journal.remove();
      return DestinationReport.outcome(
          ExitCode.FAILED_AT_SOURCE,
          "failed",
          "the destination agent ended while QEMU was loading; the guest is at the source, and this"
              + " QEMU has begun another migration",
          null,
          null);
    }
    return giveUp(vm, journal, "the destination agent ended while QEMU was loading");
  }

  /** The guest is at the source for certain: this QEMU is not needed, and may wait for a page. */
  private Outcome giveUp(DestinationVm vm, Journal<DestinationEntry> journal, String reason) {
    // First, and not while it quits: a monitor that waits for a page does not even greet.
    vm.releaseUserfaultfds();
    String qemu = "this QEMU was told to quit";
    try {
      if (vm.runState().equals("running")) {
        qemu = "this QEMU runs another and was left alone";
      } else {
        vm.quit(() -> {});
      }
    } catch (Refusal | QmpException e) {
      log.warn("QEMU could not be told to quit: {}", e.getMessage());
    }
    journal.remove();
    return DestinationReport.outcome(
        ExitCode.FAILED_AT_SOURCE,
        "failed",
        "%s; the guest is at the source, %s".formatted(reason, qemu),
        serving,
        null);
  }
}
