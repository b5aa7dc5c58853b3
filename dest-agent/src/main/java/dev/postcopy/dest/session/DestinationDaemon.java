package dev.postcopy.dest.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.control.Answers;
import dev.postcopy.control.ControlSocket;
import dev.postcopy.daemon.MigrationTable;
import dev.postcopy.daemon.ServiceManager;
import dev.postcopy.daemon.VmFolder;
import dev.postcopy.journal.DestinationEntry;
import dev.postcopy.journal.Journal;
import dev.postcopy.metrics.MigrationLedger;
import dev.postcopy.metrics.Outcome;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import io.netty.channel.IoEventLoop;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.UUID;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.JsonNode;

/**
 * Takes guests in for as long as its host runs: one port, any number of migrations, each a session
 * with threads of its own. What an agent before it left behind is taken up. Owned by its event
 * loop.
 */
public final class DestinationDaemon {

  private static final Logger log = LoggerFactory.getLogger(DestinationDaemon.class);

  /** The agent's name, of which its control socket's is made. */
  public static final String AGENT = "dest-agent";

  /** A session that does not end in this time is left to the next start. */
  private static final Duration SETTLE_PATIENCE = Duration.ofSeconds(20);

  private final ReceiveOptions options;
  private final VmFolder vms;
  private final IoEventLoop loop = EventLoops.named("gate", 1).next();
  private final ServiceManager serviceManager;
  private final MigrationTable migrations;
  private final Gate gate;
  private @Nullable ControlSocket control;

  private DestinationDaemon(
      ReceiveOptions options,
      VmFolder vms,
      Function<Supplier<Outcome>, Outcome> toOutcome,
      MigrationLedger ledger,
      Map<String, String> environment) {
    this.options = options;
    this.vms = vms;
    this.gate = new Gate(loop, options.admission(), this::admit, this::idleSocketOf);
    this.serviceManager = ServiceManager.of(environment, loop);
    this.migrations = new MigrationTable(loop, toOutcome, ledger, serviceManager);
  }

  /**
   * Begins to serve.
   *
   * @param options its QMP socket is not looked at
   * @param vms where the QEMUs are that wait for a guest
   * @param toOutcome runs a migration; what it throws is an outcome too
   * @param ledger watches every migration
   * @param environment in which a service manager says how it is told
   * @param onListening told where it listens, once
   * @throws Refusal where the state folder or the port cannot be used
   */
  public static DestinationDaemon start(
      ReceiveOptions options,
      VmFolder vms,
      Function<Supplier<Outcome>, Outcome> toOutcome,
      MigrationLedger ledger,
      Map<String, String> environment,
      Consumer<InetSocketAddress> onListening) {
    DestinationDaemon daemon = new DestinationDaemon(options, vms, toOutcome, ledger, environment);
    var _ = WarmUp.once();
    // Before anything is taken up: a second daemon ends here.
    daemon.control =
        ControlSocket.open(
            daemon.loop, ControlSocket.ofDaemon(options.stateFolder(), AGENT), daemon::onRequest);
    // Before the port: a source that comes back must not be told that nothing is known of it.
    daemon.loop.submit(daemon::takeUpAll).syncUninterruptibly();
    onListening.accept(daemon.gate.listen(options.listen()));
    daemon.serviceManager.ready();
    return daemon;
  }

  /**
   * Ends what can be ended with the guest at the source; what is left goes on at the next start.
   * Not for the loop.
   */
  public void stop() {
    gate.close();
    migrations.settle(SETTLE_PATIENCE);
    if (control != null) {
      control.close();
    }
  }

  private void onRequest(JsonNode request, Answers answers) {
    if (!migrations.answer(request, answers)) {
      throw new Refusal(
          "unknown command '%s'".formatted(request.path("command").asString("")),
          "use the dest-agent of this version");
    }
  }

  private void takeUpAll() {
    for (Journal.Found<DestinationEntry> left : EarlierMigrations.in(options.stateFolder())) {
      try {
        if (EarlierMigrations.isAlive(left.entry().vm())) {
          takeUp(left.journal(), "");
        } else {
          leaveToItsSource(left);
        }
      } catch (Refusal e) {
        log.warn("{} is not taken up: {}", left.journal(), e.getMessage());
      }
    }
  }

  /**
   * Its QEMU is gone, and only its source may have to hear of it: where that comes it is taken up.
   * Until then the VM's name is free for a QEMU that was started since.
   */
  private static void leaveToItsSource(Journal.Found<DestinationEntry> left) {
    if (left.entry().state() == DestinationEntry.State.LOADING) {
      left.journal().remove();
      log.info("{} is over: QEMU is gone, and the guest is at the source", left.journal());
    } else {
      log.info("{} waits for its source: QEMU is gone", left.journal());
    }
  }

  private Path idleSocketOf(String vm) {
    Path socket = vms.socketOfName(vm);
    migrations.requireIdle(socket);
    return socket;
  }

  private @Nullable Queue<DestinationEvent> admit(DestinationEvent.Greeted greeted) {
    ControlFrame.Hello hello = greeted.hello();
    // As Java writes an address: name/address:port, without a name.
    String peer = greeted.connection().peer().replaceFirst("^.*/", "");
    try {
      Optional<Journal<DestinationEntry>> left =
          EarlierMigrations.of(hello.session(), options.stateFolder());
      if (left.isPresent()) {
        return takeUp(left.get(), peer);
      }
      if (hello.role() != ConnectionRole.DEMAND || hello.attempt() != 0) {
        Gate.refuse(greeted, ControlFrame.Refuse.OF_AN_UNKNOWN_MIGRATION);
        return null;
      }
      return begin(hello, peer);
    } catch (Refusal e) {
      Gate.refuse(greeted, e);
      return null;
    }
  }

  private Queue<DestinationEvent> begin(ControlFrame.Hello hello, String peer) {
    if (hello.vm().isEmpty()) {
      throw new Refusal(
          "many VMs may come to this agent, and the source does not say which this is",
          "name it: source-agent migrate VM --qmp SOCKET");
    }
    // Before the session is made, whose threads would be left over.
    Path socket = idleSocketOf(hello.vm());
    return run(
        new MigrationTable.Subject(hello.vm(), socket, peer),
        hello.session(),
        new ReceiveSession(options.of(socket)));
  }

  private Queue<DestinationEvent> takeUp(Journal<DestinationEntry> left, String peer) {
    DestinationEntry entry = left.read();
    Path socket = Path.of(entry.vm().qmpSocket());
    migrations.requireIdle(socket);
    return run(
        new MigrationTable.Subject(VmFolder.nameOf(socket), socket, peer),
        entry.session(),
        new ResumeSession(options.of(socket), left));
  }

  private Queue<DestinationEvent> run(
      MigrationTable.Subject subject, UUID id, DestinationSession session) {
    migrations.start(subject, session, outcome -> ended(id, session, outcome));
    gate.expect(id, session.greetings());
    return session.greetings();
  }

  private void ended(UUID id, DestinationSession session, Outcome outcome) {
    gate.forget(id);
    String reason = outcome.report().reason();
    session.refuseWaiting(
        reason.isEmpty()
            ? new Refusal("this migration has ended", "look at the destination agent's log")
            : Refusal.ofMessage(reason));
  }
}
