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
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One migration at the destination, from listening to the last count. {@link #run} is the whole
 * story, on the caller's thread; event loops serve faults and pages, and only post what the story
 * has to know.
 */
public final class ReceiveSession extends DestinationSession {

  private static final Logger log = LoggerFactory.getLogger(ReceiveSession.class);

  private CompletableFuture<Void> warm = CompletableFuture.completedFuture(null);
  private @Nullable DestinationLink link;
  private @Nullable QemuUserfaultfd userfaultfd;
  private @Nullable DestinationHold hold;
  private @Nullable Journal<DestinationEntry> journal;

  /**
   * One that listens itself.
   *
   * @param onListening told where it listens, once
   */
  public ReceiveSession(ReceiveOptions options, Consumer<InetSocketAddress> onListening) {
    super(DestinationPhase.LISTENING, options, onListening);
  }

  /** One that is handed its {@link #greetings}; of a source that goes away there is no second. */
  ReceiveSession(ReceiveOptions options) {
    super(DestinationPhase.LISTENING, options, null);
  }

  /**
   * Takes a guest in.
   *
   * @throws Refusal where nothing was touched and nothing will be
   */
  @Override
  public Outcome run() {
    loops.start(ThreadPriority::raise);
    warm = WarmUp.once();
    try (DestinationVm vm =
        DestinationVm.attach(
            loops.control(), options.qmpSocket(), options.stateFolder(), conversation.queue())) {
      conversation.watch(vm::isEnding);
      Journal.requireWritable(options.stateFolder());
      return receive(vm);
    } finally {
      try {
        endServing();
      } finally {
        if (journal != null) {
          journal.close();
        }
        loops.shutDown();
      }
    }
  }

  private void endServing() {
    try {
      DestinationLink last = lastLink();
      if (last != null) {
        last.close();
      }
      FaultServing served = serving;
      if (served != null) {
        served.stop();
      }
    } finally {
      if (userfaultfd != null) {
        // QEMU's own copy keeps back what is missing.
        userfaultfd.close();
      }
    }
  }

  private @Nullable DestinationLink lastLink() {
    return hold == null ? link : hold.link();
  }

  private Outcome receive(DestinationVm vm) {
    Reception reception = new Reception(conversation, loops);
    try (Gate gate = openGate(Optional.empty())) {
      return receive(vm, reception, gate);
    }
  }

  private Outcome receive(DestinationVm vm, Reception reception, @Nullable Gate gate) {
    try {
      DestinationLink source =
          reception.awaitFirst(vm.ram().layout(), onListening != null, options.stateFolder());
      expectAgain(gate, reception.session());
      link = source;
      DestinationEntry loading = vm.entry(reception.session(), source.attempt());
      Journal<DestinationEntry> written = startJournal(source, loading);
      QemuUserfaultfd created = createUserfaultfd(vm, source);
      DestinationEntry registered = loading.withUserfaultfd(created.numberInQemu());
      noteUserfaultfd(written, registered, created);
      prepare(vm, created, source, reception);
      DestinationEntry loaded = registered.in(DestinationEntry.State.LOADED);
      // Made before it is needed: its class is not to be loaded while the guest stands still.
      DestinationHold holding =
          new DestinationHold(
              conversation,
              reception,
              vm,
              serving(),
              created,
              written,
              options.peerPatience(),
              loaded,
              source);
      hold = holding;
      holding.rehearse();
      Journal.Prepared<DestinationEntry> loadedLine = written.prepare(loaded);
      // The guest waits for this thread too, from its stop until it runs.
      ThreadPriority.raise();
      source.demand().send(new ControlFrame.Ready());
      load(reception);
      serving().keepPages();
      written.write(loadedLine);
      conversation.advanceTo(DestinationPhase.LOADED);
      source.demand().send(new ControlFrame.Loaded());
      return holding.run();
    } catch (Refusal | HostRefusal e) {
      if (conversation.phase() == DestinationPhase.LISTENING) {
        forget();
        throw e;
      }
      // Something was touched by now: it is as any other failure.
      return fail(vm, String.valueOf(e.getMessage()), false);
    } catch (SourceGaveUpException e) {
      return fail(vm, String.valueOf(e.getMessage()), true);
    } catch (MigrationFailedException | QmpException | LinuxException | UncheckedIOException e) {
      return fail(vm, String.valueOf(e.getMessage()), false);
    } catch (RuntimeException | Error e) {
      log.error("unexpected", e);
      return fail(vm, "unexpected " + e, false);
    }
  }

  private Journal<DestinationEntry> startJournal(DestinationLink source, DestinationEntry entry) {
    try {
      Journal<DestinationEntry> created =
          Journal.create(
              options.stateFolder(),
              entry.session().toString(),
              DestinationEntry.KIND,
              DestinationEntry.class);
      journal = created;
      created.write(entry);
      return created;
    } catch (Refusal e) {
      Reception.refuseForGood(source.demand(), String.valueOf(e.getMessage()), "");
      throw e;
    }
  }

  private QemuUserfaultfd createUserfaultfd(DestinationVm vm, DestinationLink source) {
    try {
      return vm.createUserfaultfd();
    } catch (HostRefusal e) {
      Reception.refuseForGood(source.demand(), e.reason(), e.remedy());
      throw e;
    }
  }

  /** Before anybody can wait at it: whoever takes this up lets go of no other. */
  private void noteUserfaultfd(
      Journal<DestinationEntry> written, DestinationEntry registered, QemuUserfaultfd created) {
    try {
      written.write(registered);
    } catch (UncheckedIOException e) {
      created.release();
      throw e;
    }
    userfaultfd = created;
  }

  /** Faults are served before QEMU gets the first byte of the device state. */
  private void prepare(
      DestinationVm vm, QemuUserfaultfd created, DestinationLink source, Reception reception)
      throws MigrationFailedException {
    conversation.advanceTo(DestinationPhase.LOADING);
    // Registered first: a page that is dropped now cannot come back by itself.
    vm.dropMemory();
    DeviceStateFeeder feeder = new DeviceStateFeeder(source.bulk());
    FaultServing served =
        new FaultServing(
            vm.ram(),
            created.userfaultfd(),
            new PageStates(vm.ram().layout().pageCount()),
            times,
            conversation.queue()::add);
    serving = served;
    served.letPagesBeTakenBack(vm.ram().openFiles());
    served.connect(source.demand(), source.bulk(), feeder, source.events());
    warm.join();
    vm.nameThreads(times);
    rehearse(vm, reception);
    feeder.open(vm.startLoading());
    source.expectSignsOfLife(options.peerPatience());
  }

  /** What the guest's standing still will wait for is done before, so that the JVM knows it. */
  private void rehearse(DestinationVm vm, Reception reception) throws MigrationFailedException {
    vm.rehearse(conversation, reception);
    if (journal != null) {
      journal.writeAndRehearse(journal.read());
    }
    conversation.unexpected(new DestinationEvent.Continued());
  }

  private void load(Reception reception) throws MigrationFailedException {
    while (true) {
      DestinationEvent event = conversation.take();
      if (event instanceof DestinationEvent.QemuReported report) {
        switch (report.event().migrationStatus()) {
          case "completed" -> {
            return;
          }
          case "failed" ->
              throw new MigrationFailedException(
                  "QEMU could not load the device state; are both QEMUs started alike?");
          default -> {}
        }
      } else {
        reception.handle(event);
      }
    }
  }

  /**
   * @param atSource whether the source itself said that it has the guest
   */
  private Outcome fail(DestinationVm vm, String reason, boolean atSource) {
    DestinationPhase phase = conversation.phase();
    log.info("failed in phase {}: {}", phase, reason);
    if (phase == DestinationPhase.LOADED && !atSource && hold != null) {
      return hold.leaveInDoubt(reason);
    }
    DestinationLink last = lastLink();
    if (last != null) {
      last.giveUp(reason);
    }
    return switch (phase) {
      case LISTENING -> {
        forget();
        yield outcome(ExitCode.FAILED_AT_SOURCE, "failed", reason + "; the guest is at the source");
      }
      case LOADING, LOADED -> giveUp(vm, reason);
      case DRAINING, COMPLETED -> DestinationReport.incomplete(reason, serving(), confirmed());
    };
  }

  private Outcome giveUp(DestinationVm vm, String reason) {
    // Woken after it was told: it reads zeros, but goes no further than to its end.
    boolean quits = vm.quit(this::stopServing);
    if (quits) {
      // Behind QEMU's end: a QEMU that nobody runs and no journal knows would be left over.
      forget();
    }
    return DestinationReport.givenUp(reason, vm.fate(quits), serving);
  }

  private void forget() {
    if (journal != null) {
      journal.remove();
    }
  }

  /** Who waits for a page reads zeros: for a QEMU where the guest is never to run. */
  private void stopServing() {
    FaultServing served = serving;
    if (served != null) {
      served.stop();
    }
    try {
      if (userfaultfd != null) {
        userfaultfd.release();
      }
    } catch (LinuxException e) {
      log.debug("QEMU was faster", e);
    }
  }

  private FaultServing serving() {
    FaultServing served = serving;
    if (served == null) {
      throw new IllegalStateException("nothing is served yet");
    }
    return served;
  }

  private ControlFrame.@Nullable Confirmed confirmed() {
    return hold == null ? null : hold.confirmed();
  }

  private Outcome outcome(ExitCode code, String status, String reason) {
    return DestinationReport.outcome(code, status, reason, serving, confirmed());
  }
}
