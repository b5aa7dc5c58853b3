package dev.postcopy.it;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.memory.RamLayout;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;

/** Agents that serve: many guests through one port, told what to do by name. */
final class ServeIT {

  private static final Duration TIMEOUT = Duration.ofSeconds(60);

  /** So slow that a migration is under way for as long as a test needs it to be. */
  private static final String SLOW = "100K";

  /** What ignores a signal leaves that to all that it starts, and a JVM does not hear it then. */
  private static final List<String> HEARING_CTRL_C = List.of("env", "--default-signal=INT");

  /** 128 + SIGINT, signal(7). */
  private static final int EXIT_CODE_OF_CTRL_C = 130;

  /** At least so much of the guest's memory is in use: {@code pc.mem_mib}. */
  private static final long WORKED_ON_BYTES = 32L << 20;

  /** Moves from test to test; what a test moves away it gives back. */
  @SuppressWarnings("NullAway.Init") // set before the first test
  private static QemuProcess guest;

  private Host here = Host.create("here");
  private Host there = Host.create("there");
  private final List<AutoCloseable> toClose = new ArrayList<>();

  @SuppressWarnings("NullAway.Init") // set before each test
  private AgentProcess source;

  @SuppressWarnings("NullAway.Init") // set before each test
  private AgentProcess destination;

  private int port;

  /** What a host has that its agent uses: the folder of monitors, and that of its state. */
  private record Host(Path vms, Path state) {

    static Host create(String name) {
      try {
        Path folder = Files.createTempDirectory(TestEnvironment.FILE_PREFIX + name + "-");
        return new Host(Files.createDirectory(folder.resolve("vms")), folder.resolve("state"));
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }

    /** Makes a QEMU known by a name. */
    void name(String vm, QemuProcess qemu) throws IOException {
      Files.createSymbolicLink(vms.resolve(vm), qemu.agentQmp());
    }

    List<String> journals() throws IOException {
      try (var files = Files.list(state)) {
        return files
            .map(file -> file.getFileName().toString())
            .filter(name -> name.endsWith(".source") || name.endsWith(".destination"))
            .toList();
      }
    }

    void remove() throws IOException {
      try (var files = Files.walk(vms.getParent())) {
        for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
          Files.delete(file);
        }
      }
    }
  }

  private static QemuProcess boot() {
    QemuProcess booted =
        QemuProcess.builder("source")
            .memoryMib(160)
            .kernelParameters("pc.mem_mib=32 pc.hot_mib=8 pc.think_us=100")
            .device("virtio-rng-pci")
            .start();
    LinuxGuest.on(booted).awaitReady();
    return booted;
  }

  @BeforeAll
  static void startGuest() {
    guest = boot();
  }

  @AfterAll
  static void stopGuest() {
    guest.close();
  }

  @BeforeEach
  void serve() throws IOException {
    if (!guest.qmp().status().equals("running")) {
      guest.close();
      guest = boot();
    }
    destination = serveThere(0);
    port = destination.awaitListening();
    source = serveHere();
    here.name("vm", guest);
  }

  private AgentProcess serveThere(int onPort) {
    return serve(List.of(), there, "dest-agent", "--listen", "127.0.0.1:" + onPort);
  }

  private AgentProcess serveHere() {
    return serveHere("--precopy", "off");
  }

  private AgentProcess serveHere(String... more) {
    return serveHere(List.of(), more);
  }

  /**
   * @param prefix as of {@link AgentProcess#start}
   */
  private AgentProcess serveHere(List<String> prefix, String... more) {
    AgentProcess started = serve(prefix, here, "source-agent", more);
    awaitSocket(here.state().resolve("source-agent.sock"), started);
    return started;
  }

  private static AgentProcess serve(List<String> prefix, Host host, String agent, String... more) {
    List<String> all =
        new ArrayList<>(
            List.of(
                "serve",
                "--vm-dir",
                host.vms().toString(),
                "--state-dir",
                host.state().toString()));
    all.addAll(List.of(AgentProcess.PATIENT));
    all.addAll(List.of(more));
    return AgentProcess.start(prefix, agent, all.toArray(String[]::new));
  }

  private static void awaitSocket(Path socket, AgentProcess agent) {
    long deadline = System.nanoTime() + TIMEOUT.toNanos();
    while (!Files.exists(socket)) {
      assertThat(agent.isAlive() && System.nanoTime() < deadline).as(agent.toString()).isTrue();
      QmpProbe.sleep(Duration.ofMillis(20));
    }
  }

  @AfterEach
  void end() throws Exception {
    for (AutoCloseable closeable : toClose.reversed()) {
      closeable.close();
    }
    source.close();
    destination.close();
    here.remove();
    there.remove();
  }

  private <T extends AutoCloseable> T closed(T closeable) {
    toClose.add(closeable);
    return closeable;
  }

  private AgentProcess tell(String agent, String... command) {
    Path state = agent.equals("source-agent") ? here.state() : there.state();
    List<String> all = new ArrayList<>(List.of(command));
    all.addAll(List.of("--state-dir", state.toString()));
    return closed(AgentProcess.start(HEARING_CTRL_C, agent, all.toArray(String[]::new)));
  }

  private AgentProcess migrate(String vm, int to, String... more) {
    return migrate(vm, "127.0.0.1:" + to, more);
  }

  private AgentProcess migrate(String vm, String to, String... more) {
    List<String> all = new ArrayList<>(List.of("migrate", vm, "--to", to, "--json"));
    all.addAll(List.of(more));
    return tell("source-agent", all.toArray(String[]::new));
  }

  private static void requireDone(AgentProcess command) {
    assertThat(command.awaitExit(TIMEOUT)).as(command.toString()).isZero();
  }

  private static JsonNode requireTold(AgentProcess command) {
    requireDone(command);
    return command.report();
  }

  private static void requireRefused(AgentProcess command, String... words) {
    assertThat(command.awaitExit(TIMEOUT)).as(command.toString()).isEqualTo(2);
    assertThat(command.messages()).as(command.toString()).hasSize(1);
    assertThat(command.messages().getFirst()).startsWith("refused: ").contains(words);
  }

  private static void requireWorks(QemuProcess qemu) {
    LinuxGuest moved = LinuxGuest.on(qemu);
    LinuxGuest.Heartbeat before = moved.awaitHeartbeat(TIMEOUT);
    moved.awaitWork(before, TIMEOUT);
    LinuxGuest.Verification verification = moved.verify();
    assertThat(verification.ok()).as(verification.text()).isTrue();
    assertThat(moved.corruptions()).isEmpty();
  }

  private QemuProcess waiting(String vm, QemuProcess from) throws IOException {
    QemuProcess waiting = from.incomingTwin("destination").start();
    there.name(vm, waiting);
    return waiting;
  }

  private JsonNode status(String agent, String vm) {
    return requireTold(tell(agent, "status", vm, "--json"));
  }

  @Test
  void twoGuestsMoveAtTheSameTimeThroughOnePort() throws IOException {
    QemuProcess second = closed(boot());
    here.name("second", second);
    QemuProcess to = waiting("vm", guest);
    QemuProcess secondTo = closed(waiting("second", second));
    AgentProcess one = migrate("vm", port, "--max-bandwidth", SLOW);
    AgentProcess two = migrate("second", port, "--max-bandwidth", SLOW);
    to.qmp().awaitStatus("running", TIMEOUT);
    secondTo.qmp().awaitStatus("running", TIMEOUT);

    for (String agent : List.of("source-agent", "dest-agent")) {
      JsonNode migrations = requireTold(tell(agent, "list", "--json")).path("migrations");
      assertThat(migrations.valueStream().map(each -> each.path("vm").asString()))
          .as("%s: %s", agent, migrations)
          .containsExactlyInAnyOrder("vm", "second");
      assertThat(migrations.valueStream().map(each -> each.path("phase").asString()))
          .as("%s: %s", agent, migrations)
          .containsOnly("draining");
    }
    int threads = source.threadCount();
    for (int i = 0; i < 3; i++) {
      AgentProcess again = migrate("vm", port);
      requireRefused(again, "a migration of vm is under way");
      assertThat(again.report().path("status").asString()).isEqualTo("refused");
    }
    assertThat(source.threadCount())
        .as("threads of an agent that refused three migrations, whose two each must not stay")
        .isLessThan(threads + 6);
    AgentProcess late = tell("source-agent", "cancel", "vm", "--json");
    requireRefused(late, "belongs to the destination");
    assertThat(late.report().path("status").asString()).isEqualTo("refused");
    assertThat(
            requireTold(tell("source-agent", "set", "max-bandwidth", "unlimited", "vm", "--json"))
                .path("status")
                .asString())
        .isEqualTo("ok");
    requireDone(tell("source-agent", "set", "max-bandwidth", "unlimited", "second"));

    for (AgentProcess migration : List.of(one, two)) {
      Migration.requireContract(requireTold(migration));
      assertThat(migration.report().path("status").asString()).isEqualTo("completed");
    }
    JsonNode end = status("source-agent", "vm");
    assertThat(end.path("ended").asBoolean()).as(end.toString()).isTrue();
    assertThat(end.path("done_pages").asLong())
        .as(end.toString())
        .isEqualTo(end.path("all_pages").asLong());
    Migration.requireLetGo(second, secondTo);
    requireWorks(secondTo);
    requireMoved(to);
    assertThat(here.journals()).isEmpty();
  }

  /** Begins to move the guest, and returns when it runs at {@code to} and its memory is to come. */
  private AgentProcess migrateSlowly(QemuProcess to) {
    AgentProcess migration = migrate("vm", port, "--max-bandwidth", SLOW);
    to.qmp().awaitStatus("running", TIMEOUT);
    return migration;
  }

  /** The migration of the guest, which was slow, comes to its end without a command that waits. */
  private void requireGoesOnToItsEnd() {
    requireDone(tell("source-agent", "set", "max-bandwidth", "unlimited", "vm"));
    JsonNode end = requireTold(tell("source-agent", "status", "vm", "--follow", "--json"));
    assertThat(end.at("/report/status").asString()).as(end.toString()).isEqualTo("completed");
  }

  /** The guest works at {@code to}, and is the one of the next test. */
  private static void requireMoved(QemuProcess to) {
    Migration.requireLetGo(guest, to);
    requireWorks(to);
    guest.close();
    guest = to;
  }

  @Test
  void whoeverLeavesTheViewLeavesTheMigrationToItself() throws IOException {
    QemuProcess to = waiting("vm", guest);
    AgentProcess view = migrateSlowly(to);
    view.interrupt();
    assertThat(view.awaitExit(TIMEOUT)).as(view.toString()).isEqualTo(EXIT_CODE_OF_CTRL_C);
    assertThat(view.messages()).singleElement().asString().contains("the migration goes on");

    assertThat(status("source-agent", "vm").path("phase").asString()).isEqualTo("draining");
    requireGoesOnToItsEnd();
    requireMoved(to);
  }

  @Test
  void destinationAgentIsKilledAndStartedAgainByWhoeverWatchesIt() throws IOException {
    QemuProcess to = waiting("vm", guest);
    AgentProcess migration = migrateSlowly(to);
    destination.kill();
    assertThat(there.journals()).hasSize(1);

    destination = serveThere(port);
    destination.awaitListening();
    requireDone(tell("source-agent", "set", "max-bandwidth", "unlimited", "vm"));

    assertThat(requireTold(migration).path("status").asString()).isEqualTo("completed");
    requireDone(tell("dest-agent", "status", "vm", "--follow"));
    requireMoved(to);
    assertThat(there.journals()).isEmpty();
  }

  @Test
  void sourceAgentIsEndedInTheMiddleAndGoesOnAtItsNextStart() throws IOException {
    QemuProcess to = waiting("vm", guest);
    AgentProcess migration = migrateSlowly(to);
    source.terminate();
    assertThat(source.awaitExit(TIMEOUT)).as(source.toString()).isZero();
    assertThat(migration.awaitExit(TIMEOUT)).as("the guest is gone: " + migration).isEqualTo(3);
    assertThat(migration.messages()).singleElement().asString().contains("may go on");
    Migration.requireContract(migration.report());

    source = serveHere();
    // What limits it is in the journal, not in the command line of the agent.
    requireGoesOnToItsEnd();
    requireMoved(to);
    assertThat(here.journals()).isEmpty();
  }

  /** The host's resolver may not answer yet when its services start. */
  @Test
  void sourceAgentThatStartsWhileTheDestinationsNameHasNoAddressGoesOnOnceItHas(
      @TempDir Path folder) throws IOException {
    Path hosts = folder.resolve("hosts");
    Files.writeString(hosts, "127.0.0.1 there.test\n");
    restartHereWithNames(hosts);
    QemuProcess to = waiting("vm", guest);
    AgentProcess migration = migrate("vm", "there.test:" + port, "--max-bandwidth", SLOW);
    to.qmp().awaitStatus("running", TIMEOUT);

    Files.writeString(hosts, "");
    restartHereWithNames(hosts);
    assertThat(migration.awaitExit(TIMEOUT)).as("the guest is gone: " + migration).isEqualTo(3);
    source.awaitLog("there.test does not resolve");

    Files.writeString(hosts, "127.0.0.1 there.test\n");
    requireGoesOnToItsEnd();
    requireMoved(to);
    assertThat(here.journals()).isEmpty();
  }

  /**
   * @param hosts names with their addresses, instead of the host's resolver (InetAddress)
   */
  private void restartHereWithNames(Path hosts) {
    restartHere(
        List.of("env", "JAVA_TOOL_OPTIONS=-Djdk.net.hosts.file=" + hosts),
        "--precopy",
        "off",
        "--insecure");
  }

  @Test
  void preflightHearsFromTheDestinationWhetherAMachineMayCome() throws IOException {
    closed(waiting("vm", guest));

    AgentProcess known = preflight("vm");
    assertThat(known.awaitExit(TIMEOUT)).as(known.toString()).isZero();
    assertThat(known.stdout()).anyMatch(line -> line.contains("VM 'vm' may come"));
    AgentProcess unknown = preflight("other");
    assertThat(unknown.awaitExit(TIMEOUT)).as(unknown.toString()).isEqualTo(2);
    assertThat(unknown.stdout()).anyMatch(line -> line.contains("no VM 'other' here"));
    assertThat(there.journals()).as("a migration was begun").isEmpty();
  }

  private AgentProcess preflight(String vm) {
    return tell(
        "source-agent",
        "preflight",
        vm,
        "--qmp",
        guest.agentQmp().toString(),
        "--to",
        "127.0.0.1:" + port);
  }

  @Test
  void guestStaysWhereItIsWhenItsMigrationIsCancelled() throws IOException {
    closed(waiting("vm", guest));
    FrameProxy proxy = closed(FrameProxy.to(port).holdAt(FrameProxy.Type.READY));
    AgentProcess migration = migrate("vm", proxy.port());
    proxy.awaitHeld(migration);
    assertThat(status("source-agent", "vm").path("phase").asString()).isEqualTo("preparing");

    requireDone(tell("source-agent", "cancel", "vm"));
    assertThat(migration.awaitExit(TIMEOUT)).as(migration.toString()).isEqualTo(1);
    requireWorks(guest);
    JsonNode end = status("source-agent", "vm");
    assertThat(end.at("/report/reason").asString()).as(end.toString()).contains("cancelled");
  }

  @Test
  void guestStaysWhereItIsWhenTheAgentIsEndedBeforeTheCommit() throws IOException {
    closed(waiting("vm", guest));
    FrameProxy proxy = closed(FrameProxy.to(port).holdAt(FrameProxy.Type.LOADED));
    AgentProcess migration = migrate("vm", proxy.port());
    proxy.awaitHeld(migration);
    source.terminate();
    guest.qmp().awaitStatus("running", TIMEOUT);
    proxy.release();
    assertThat(source.awaitExit(TIMEOUT)).as(source.toString()).isZero();
    assertThat(migration.awaitExit(TIMEOUT)).as(migration.toString()).isEqualTo(1);
    requireWorks(guest);
  }

  /** The agent itself was told {@code --precopy off}. */
  @Test
  void howMuchGoesAheadIsAsTheCommandSaysAndElseAsTheAgentWasTold() throws IOException {
    assertThat(moved().has("precopy")).as("memory that went ahead by default").isFalse();

    JsonNode ahead = moved("--precopy", "2").path("precopy");
    assertThat(ahead.path("rounds").valueStream().map(round -> round.path("number").asInt()))
        .as(ahead.toString())
        .containsExactly(1, 2);
    assertThat(ahead.path("rounds").valueStream())
        .as("rounds that sent something")
        .allMatch(round -> round.path("bytes").asLong() > RamLayout.PAGE_BYTES);
    assertThat(ahead.path("bytes_ahead").asLong()).isGreaterThan(WORKED_ON_BYTES);

    restartHere("--precopy", "3");
    assertThat(moved().at("/precopy/rounds")).hasSize(3);
    assertThat(moved("--precopy", "off").has("precopy")).as("memory that went ahead").isFalse();
  }

  /**
   * At this rate what is left of one round takes longer than the default, and less than the other.
   */
  @Test
  void whatIsLeftGoesAcrossInTheStopWhereTheCommandAllowsIt() throws IOException {
    JsonNode without = moved("--precopy", "1", "--max-bandwidth", "20M");
    JsonNode with = moved("--precopy", "1", "--max-bandwidth", "20M", "--downtime-limit", "9000");

    assertThat(with.at("/precopy/rounds/0/pages_written").asInt())
        .as("pages that are left: " + with)
        .isPositive();
    assertThat(with.path("faults").asInt())
        .as("faults, and %s without", without.path("faults"))
        .isLessThan(without.path("faults").asInt() / 4);
  }

  @Test
  void wrongWordsAboutMemoryThatGoesAheadAreOneLineAndNothingBegins() throws IOException {
    for (String[] wrong :
        new String[][] {
          {"--precopy", "often"},
          {"--precopy", "0"},
          {"--downtime-limit", "-1"},
          {"--downtime-limit", "soon"},
          {"--switch-after", "5"}
        }) {
      AgentProcess command = migrate("vm", port, wrong);
      assertThat(command.awaitExit(TIMEOUT)).as(command.toString()).isEqualTo(2);
      assertThat(command.messages()).as(command.toString()).hasSize(1);
      assertThat(command.messages().getFirst()).startsWith("wrong usage: ").contains(wrong[0]);
    }
    assertThat(requireTold(tell("source-agent", "list", "--json")).path("migrations")).isEmpty();
  }

  /** The report of a migration of the guest, which goes on where it came to. */
  private JsonNode moved(String... said) throws IOException {
    QemuProcess to = waiting("vm", guest);
    JsonNode report = requireTold(migrate("vm", port, said));
    assertThat(report.path("status").asString()).as(report.toString()).isEqualTo("completed");
    requireMoved(to);
    Files.delete(here.vms().resolve("vm"));
    Files.delete(there.vms().resolve("vm"));
    here.name("vm", guest);
    return report;
  }

  private void restartHere(String... options) {
    restartHere(List.of(), options);
  }

  private void restartHere(List<String> prefix, String... options) {
    source.terminate();
    assertThat(source.awaitExit(TIMEOUT)).as(source.toString()).isZero();
    source = serveHere(prefix, options);
  }

  @Test
  void machineThatIsNotThereIsRefusedAndTheAgentsGoOn() throws IOException {
    requireRefused(migrate("other", port), "no VM 'other' here");
    requireRefused(migrate("vm", port), "the destination refuses: no VM 'vm' here");
    requireRefused(tell("source-agent", "status", "other"), "no migration of 'other'");
    requireRefused(tell("source-agent", "cancel", "vm"), "has ended");

    QemuProcess to = waiting("vm", guest);
    assertThat(requireTold(migrate("vm", port)).path("status").asString()).isEqualTo("completed");
    requireMoved(to);
  }
}
