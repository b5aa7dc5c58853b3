package dev.postcopy.source.session;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import dev.postcopy.control.Answers;
import dev.postcopy.control.ControlSocket;
import dev.postcopy.daemon.MigrationTable;
import dev.postcopy.daemon.ServiceManager;
import dev.postcopy.daemon.VmFolder;
import dev.postcopy.journal.Journal;
import dev.postcopy.journal.SourceEntry;
import dev.postcopy.metrics.MigrationLedger;
import dev.postcopy.metrics.Outcome;
import dev.postcopy.source.precopy.PrecopyMode;
import dev.postcopy.transport.EventLoops;
import io.netty.channel.IoEventLoop;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.Function;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;

/**
 * Gives guests away when it is told to, for as long as its host runs: any number of migrations,
 * each a session with threads of its own. What an agent before it left behind is taken up. Owned by
 * its event loop.
 */
public final class SourceDaemon {

  private static final Logger log = LoggerFactory.getLogger(SourceDaemon.class);

  /** The agent's name, of which its control socket's is made. */
  public static final String AGENT = "source-agent";

  public static final String MIGRATE = "migrate";
  public static final String RESUME = "resume";

  /** The field with HOST:PORT. */
  public static final String TO = "to";

  /** The field with how much goes ahead, as {@link PrecopyMode#parse} reads it. */
  public static final String PRECOPY = "precopy";

  /** The field with how long what is left may take with the guest stopped. */
  public static final String DOWNTIME_LIMIT_MILLIS = "downtime_limit_ms";

  /**
   * The field with when the guest goes over, wherever the push is; for tests, no command has it.
   */
  public static final String SWITCH_AFTER_MILLIS = "switch_after_ms";

  /** The field that asks for answers until the migration has ended. */
  public static final String FOLLOW = "follow";

  /** A session that does not end in this time is left to the next start. */
  private static final Duration SETTLE_PATIENCE = Duration.ofSeconds(20);

  private final MigrateOptions options;
  private final VmFolder vms;
  private final IoEventLoop loop = EventLoops.named("commands", 1).next();
  private final ServiceManager serviceManager;
  private final MigrationTable migrations;
  private @Nullable ControlSocket control;

  private SourceDaemon(
      MigrateOptions options,
      VmFolder vms,
      Function<Supplier<Outcome>, Outcome> toOutcome,
      MigrationLedger ledger,
      Map<String, String> environment) {
    this.options = options;
    this.vms = vms;
    this.serviceManager = ServiceManager.of(environment, loop);
    this.migrations = new MigrationTable(loop, toOutcome, ledger, serviceManager);
  }

  /**
   * Begins to serve.
   *
   * @param options for every migration; its QMP socket and destination are not looked at
   * @param vms where the QEMUs of this host are
   * @param toOutcome runs a migration; what it throws is an outcome too
   * @param ledger watches every migration
   * @param environment in which a service manager says how it is told
   * @throws Refusal where the state folder cannot be used
   */
  public static SourceDaemon start(
      MigrateOptions options,
      VmFolder vms,
      Function<Supplier<Outcome>, Outcome> toOutcome,
      MigrationLedger ledger,
      Map<String, String> environment) {
    SourceDaemon daemon = new SourceDaemon(options, vms, toOutcome, ledger, environment);
    var _ = WarmUp.once();
    // Before anything is taken up: a second daemon ends here.
    daemon.control =
        ControlSocket.open(
            daemon.loop, ControlSocket.ofDaemon(options.stateFolder(), AGENT), daemon::onRequest);
    daemon.loop.submit(daemon::takeUpAll).syncUninterruptibly();
    daemon.serviceManager.ready();
    return daemon;
  }

  /**
   * Ends what can be ended with the guest here; what is left goes on at the next start. Not for the
   * loop.
   */
  public void stop() {
    migrations.settle(SETTLE_PATIENCE);
    if (control != null) {
      control.close();
    }
  }

  private void takeUpAll() {
    // One at a time of each QEMU: what else is left of it waits for the next start, or for resume.
    for (Journal.Found<SourceEntry> left : ResumeSession.leftIn(options.stateFolder())) {
      try {
        takeUp(left.journal(), JsonNodeFactory.instance.objectNode());
      } catch (Refusal e) {
        log.warn("{} is not taken up: {}", left.journal(), e.getMessage());
      }
    }
  }

  private void onRequest(JsonNode request, Answers answers) {
    if (migrations.answer(request, answers)) {
      return;
    }
    switch (request.path("command").asString("")) {
      case MIGRATE -> answer(migrate(request), request, answers);
      case RESUME -> answer(resume(request), request, answers);
      case Commands.MAX_BANDWIDTH ->
          Commands.setMaxBandwidth((SourceSession) migrations.underWay(request), request, answers);
      default ->
          throw new Refusal(
              "unknown command " + request.path("command"), "use the source-agent of this version");
    }
  }

  private void answer(MigrationTable.Subject begun, JsonNode request, Answers answers) {
    if (request.path(FOLLOW).asBoolean(false)) {
      migrations.follow(begun, answers);
    } else {
      answers.done();
    }
  }

  private MigrationTable.Subject migrate(JsonNode request) {
    Path socket = vms.socket(request.path("vm").asString(""));
    String name = VmFolder.nameOf(socket);
    HostAndPort to = destination(request.path(TO).asString(""));
    long maxBytesPerSecond =
        request.path(Commands.BYTES_PER_SECOND).asLong(options.maxBulkBytesPerSecond());
    MigrationTable.Subject subject = new MigrationTable.Subject(name, socket, to.toString());
    // Before the session is made, whose threads would be left over.
    migrations.requireIdle(socket);
    migrations.start(
        subject,
        new MigrateSession(
            options.of(socket, name, to, maxBytesPerSecond, ahead(request)), Commands.none()),
        outcome -> {});
    return subject;
  }

  private static HostAndPort destination(String text) {
    try {
      return HostAndPort.parse(text);
    } catch (IllegalArgumentException e) {
      throw new Refusal(String.valueOf(e.getMessage()), "name the destination");
    }
  }

  /** What a request does not say is as this agent was told. */
  private PrecopyOptions ahead(JsonNode request) {
    PrecopyOptions own = options.precopy();
    PrecopyMode mode = own.mode();
    if (request.has(PRECOPY)) {
      try {
        mode = PrecopyMode.parse(request.path(PRECOPY).asString(""));
      } catch (IllegalArgumentException e) {
        throw new Refusal(String.valueOf(e.getMessage()), "say how much is to go ahead");
      }
    }
    Duration downtimeLimit = own.downtimeLimit();
    if (request.has(DOWNTIME_LIMIT_MILLIS)) {
      downtimeLimit = Duration.ofMillis(millis(request, DOWNTIME_LIMIT_MILLIS, "a downtime limit"));
    }
    OptionalInt switchAfter = own.switchAfterMillis();
    if (request.has(SWITCH_AFTER_MILLIS)) {
      switchAfter = OptionalInt.of(millis(request, SWITCH_AFTER_MILLIS, "a moment"));
    }
    return own.with(mode, downtimeLimit, switchAfter);
  }

  private static int millis(JsonNode request, String field, String what) {
    int millis = request.path(field).asInt(-1);
    if (millis < 0) {
      throw new Refusal("not %s: %s".formatted(what, request.path(field)), "give milliseconds");
    }
    return millis;
  }

  private MigrationTable.Subject resume(JsonNode request) {
    // Its QEMU may be gone, and the socket with it: what is left is in the journal.
    Path socket = vms.address(request.path("vm").asString(""));
    migrations.requireIdle(socket);
    return takeUp(ResumeSession.choose(options.stateFolder(), Optional.of(socket)), request);
  }

  /** What {@code request} does not say is as the journal has it. */
  private MigrationTable.Subject takeUp(Journal<SourceEntry> left, JsonNode request) {
    SourceEntry entry = left.read();
    Path socket = Path.of(entry.vm().qmpSocket());
    HostAndPort to = destination(request.path(TO).asString(entry.destination()));
    long maxBytesPerSecond =
        request.path(Commands.BYTES_PER_SECOND).asLong(entry.maxBulkBytesPerSecond());
    MigrationTable.Subject subject =
        new MigrationTable.Subject(VmFolder.nameOf(socket), socket, to.toString());
    migrations.requireIdle(socket);
    migrations.start(
        subject,
        new ResumeSession(
            options.of(socket, entry.vmName(), to, maxBytesPerSecond, options.precopy()),
            left,
            Commands.none()),
        outcome -> {});
    return subject;
  }
}
