package dev.postcopy.it;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.memory.RamBlock;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.FrameWriter;
import dev.postcopy.wire.Wire;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.UnpooledByteBufAllocator;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.List;
import java.util.UUID;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * What cannot be migrated, or not from here, or not to there: one line that names cause and remedy,
 * exit code 2, and a guest that has noticed nothing.
 */
final class RefusalIT {

  private static final int MEMORY_MIB = 64;
  private static final int RANGE_END_MIB = 32;
  private static final int NOBODY_LISTENS = 1;
  private static final Duration TIMEOUT = Duration.ofSeconds(60);

  /** A guest that could be migrated; it runs on through all tests. */
  @SuppressWarnings("NullAway.Init") // set before the first test
  private static QemuProcess source;

  @SuppressWarnings("NullAway.Init") // set before each test
  private Traces before;

  /** What an agent could have left behind in a QEMU. */
  private record Traces(
      String status, QmpProbe.MigrationSettings settings, int stops, long descriptors) {

    static Traces of(QemuProcess qemu) {
      return new Traces(
          qemu.qmp().status(),
          qemu.qmp().migrationSettings(),
          qemu.qmp().count("STOP"),
          Migration.descriptors(qemu).size());
    }
  }

  static Stream<String> qemuVersions() {
    return TestEnvironment.qemuVersions();
  }

  private static QemuProcess.Builder guest() {
    return QemuProcess.builder("source").memoryMib(MEMORY_MIB).bootSector(RANGE_END_MIB).resting();
  }

  @BeforeAll
  static void startGuest() {
    source = guest().start();
    requireRuns(source);
  }

  @AfterAll
  static void stopGuest() {
    source.close();
  }

  @BeforeEach
  void lookAtSource() {
    before = Traces.of(source);
  }

  @AfterEach
  void requireThatSourceNoticedNothing() {
    requireUntouched(source, before);
    requireRuns(source);
  }

  private static void requireRuns(QemuProcess qemu) {
    BootSectorGuest.on(qemu, RANGE_END_MIB).awaitRounds(1, TIMEOUT);
  }

  /** QEMU closes an agent's connection when it gets to it, so descriptors may take a moment. */
  private static void requireUntouched(QemuProcess qemu, Traces before) {
    Traces now = Traces.of(qemu);
    for (int i = 0; i < 100 && !now.equals(before); i++) {
      QmpProbe.sleep(Duration.ofMillis(20));
      now = Traces.of(qemu);
    }
    assertThat(now).isEqualTo(before);
  }

  /** Exit code 2, one line on standard error with these words in it, a report that says refused. */
  private static void requireRefused(AgentProcess agent, String... words) {
    assertThat(agent.awaitExit(TIMEOUT)).as(agent.toString()).isEqualTo(2);
    assertThat(agent.messages()).as(agent.toString()).hasSize(1);
    assertThat(agent.messages().getFirst()).startsWith("refused: ").contains("; ").contains(words);
    assertThat(agent.report().path("status").asString()).isEqualTo("refused");
    Migration.requireContract(agent.report());
  }

  @Test
  void aStateFolderWhosePathIsTooLongForItsSocketsIsRefused() {
    Path folder = Path.of("/tmp", TestEnvironment.FILE_PREFIX + "x".repeat(60));
    try (AgentProcess agent =
        AgentProcess.migrate(source, NOBODY_LISTENS, "--state-dir", folder.toString())) {
      requireRefused(agent, "longer than", "--state-dir");
    }
  }

  // What the source's QEMU is.

  private static void requireSourceRefuses(QemuProcess.Builder guest, String... words) {
    try (QemuProcess qemu = guest.start()) {
      requireRuns(qemu);
      Traces before = Traces.of(qemu);
      try (AgentProcess agent = AgentProcess.migrate(qemu, NOBODY_LISTENS)) {
        requireRefused(agent, words);
      }
      requireUntouched(qemu, before);
      requireRuns(qemu);
    }
  }

  @Test
  void qemuIsMigratingTheGuestByItself() {
    try (QemuProcess qemu = guest().start()) {
      requireRuns(qemu);
      qemu.qmp().execute("migrate-set-parameters", "max-bandwidth", 1);
      qemu.qmp().execute("migrate", "uri", "exec:sleep 600");
      Traces before = Traces.of(qemu);
      try (AgentProcess agent = AgentProcess.migrate(qemu, NOBODY_LISTENS)) {
        requireRefused(agent, "QEMU is migrating this guest by itself", "cancel it");
      }
      requireUntouched(qemu, before);
      qemu.qmp().execute("migrate_cancel");
    }
  }

  @Test
  void memoryIsAPrivateFile() {
    requireSourceRefuses(
        guest().ram(QemuProcess.Ram.PRIVATE_FILE), "ram0", "not shared", "share=on");
  }

  @Test
  void memoryIsAnonymous() {
    requireSourceRefuses(guest().ram(QemuProcess.Ram.ANONYMOUS), "ram0", "not shared", "share=on");
  }

  @Test
  void memoryIsAnonymousAndShared() {
    requireSourceRefuses(
        guest().ram(QemuProcess.Ram.ANONYMOUS).ramOptions("share=on"),
        "memory-backend-ram",
        "memory-backend-file");
  }

  @Test
  void memoryHasNoBackendOfItsOwn() {
    requireSourceRefuses(guest().ram(QemuProcess.Ram.DEFAULT), "memory-backend-file", "share=on");
  }

  @Test
  void memoryIsAMemfdOfAQemuThatSendsItItself() {
    requireSourceRefuses(
        guest().version("10.0").ram(QemuProcess.Ram.MEMFD), "memfd", "QEMU 10.0", "share=on");
  }

  @Test
  void memoryIsPreallocated() {
    requireSourceRefuses(guest().ramOptions("prealloc=on"), "ram0", "prealloc");
  }

  /** Until it is told otherwise, and then the guest may go. */
  @Test
  void memoryIsEmptiedWhenQemuEnds() {
    try (QemuProcess qemu = guest().ramOptions("discard-data=on").start()) {
      Traces before = Traces.of(qemu);
      try (AgentProcess agent = AgentProcess.migrate(qemu, NOBODY_LISTENS)) {
        requireRefused(agent, "ram0", "discard-data", "qom-set");
      }
      requireUntouched(qemu, before);
      qemu.qmp()
          .execute("qom-set", "path", "/objects/ram0", "property", "discard-data", "value", false);
      try (AgentProcess agent = AgentProcess.migrate(qemu, NOBODY_LISTENS)) {
        requireFailed(agent, "no destination agent");
      }
    }
  }

  @Test
  void oneBlockOfTwoIsNotShared() {
    requireSourceRefuses(
        guest().arguments("-object", "memory-backend-ram,id=spare,size=16M,share=off"),
        "spare",
        "not shared");
  }

  @Test
  void memoryIsNotOnTmpfs() throws IOException {
    Path folder = Files.createTempDirectory(TestEnvironment.get().root().resolve("target"), "ram-");
    try {
      if (Files.getFileStore(folder).type().equals("tmpfs")) {
        Requirement.impossible("a file that is not on tmpfs: " + folder + " is on tmpfs");
      }
      requireSourceRefuses(guest().ramFolder(folder), "ram0", "filesystem", "tmpfs");
    } finally {
      Files.delete(folder);
    }
  }

  @Test
  void memoryIsOnHugetlbfs() throws IOException {
    try (HugePages pages = HugePages.reserve(MEMORY_MIB)) {
      requireSourceRefuses(guest().ramFolder(pages.folder()), "ram0", "hugetlbfs", "tmpfs");
    }
  }

  @Test
  void deviceOfAnotherProcessMapsTheMemory() throws IOException {
    Path folder = TestEnvironment.newFolder("vhost-user");
    Path disk = folder.resolve("disk.raw");
    Path socket = folder.resolve("vhost.sock");
    Files.write(disk, new byte[1 << 20]);
    Process daemon = null;
    try {
      daemon = startVhostUserBackend(disk, socket);
      requireSourceRefuses(
          guest()
              .arguments("-chardev", "socket,id=vhost,path=" + socket)
              .arguments("-device", "vhost-user-blk-pci,chardev=vhost"),
          "vhost-user-blk",
          "unplug");
    } finally {
      if (daemon != null) {
        daemon.destroyForcibly();
      }
      TestEnvironment.deleteFolder(folder);
    }
  }

  private static Process startVhostUserBackend(Path disk, Path socket) {
    Process daemon;
    try {
      daemon =
          new ProcessBuilder(
                  "qemu-storage-daemon",
                  "--blockdev",
                  "driver=file,node-name=disk,filename=" + disk,
                  "--export",
                  "type=vhost-user-blk,id=disk,node-name=disk,addr.type=unix,addr.path=" + socket)
              .redirectErrorStream(true)
              .redirectOutput(ProcessBuilder.Redirect.DISCARD)
              .start();
    } catch (IOException e) {
      Requirement.missing("qemu-storage-daemon; install qemu-system-common: " + e.getMessage());
      throw new AssertionError(e);
    }
    for (int i = 0; i < 500 && !Files.exists(socket); i++) {
      QmpProbe.sleep(Duration.ofMillis(10));
    }
    return daemon;
  }

  // What is behind the QMP socket.

  private void requireMonitorRefused(Path socket, String... words) {
    try (AgentProcess agent = AgentProcess.migrate(socket, NOBODY_LISTENS);
        AgentProcess other = AgentProcess.receive(socket)) {
      requireRefused(agent, words);
      requireRefused(other, words);
    }
  }

  @Test
  void monitorIsNotThere() {
    Path socket = source.folder().resolve("no-such.sock");
    requireMonitorRefused(socket, socket.toString(), "No such file", "-qmp unix:");
  }

  @Test
  void monitorIsNoSocket() {
    Path file = source.folder().resolve("qemu.log");
    requireMonitorRefused(file, file.toString(), "-qmp unix:");
  }

  @Test
  void monitorSaysNothing() {
    Path socket = source.folder().resolve("silent.sock");
    try (FakePeer _ = FakePeer.onUnix(socket, new byte[0])) {
      requireMonitorRefused(socket, "no QMP greeting", "-qmp");
    }
  }

  @Test
  void monitorIsAnotherServer() {
    Path socket = source.folder().resolve("ssh.sock");
    try (FakePeer _ = FakePeer.onUnix(socket, "SSH-2.0-OpenSSH_9.2\r\n".getBytes(UTF_8))) {
      requireMonitorRefused(socket, socket.toString(), "QMP", "-qmp");
    }
  }

  @Test
  void monitorIsAnotherJsonServer() {
    Path socket = source.folder().resolve("json.sock");
    try (FakePeer _ = FakePeer.onUnix(socket, "{\"hello\": [1, 2]}\r\n".getBytes(UTF_8))) {
      requireMonitorRefused(socket, socket.toString(), "QMP", "-qmp");
    }
  }

  @Test
  void monitorIsHeldByAnotherClient() {
    Path socket = source.folder().resolve("qmp.sock");
    requireMonitorRefused(socket, "another client", "second -qmp socket");
  }

  // What the destination's QEMU is.

  private static void requireDestinationRefuses(QemuProcess.Builder qemu, String... words) {
    try (QemuProcess destination = qemu.start();
        AgentProcess agent = AgentProcess.receive(destination)) {
      requireRefused(agent, words);
    }
  }

  @Test
  void destinationRunsAGuest() {
    try (AgentProcess agent = AgentProcess.receive(source)) {
      requireRefused(agent, "running", "-incoming defer");
    }
  }

  @ParameterizedTest
  @MethodSource("qemuVersions")
  void destinationWaitsForAnAddressOfItsOwn(String version) {
    requireDestinationRefuses(
        guest().version(version).arguments("-incoming", "tcp:127.0.0.1:0"), "-incoming defer");
  }

  @Test
  void destinationsMemoryIsPrivate() {
    requireDestinationRefuses(
        guest().incoming().ram(QemuProcess.Ram.PRIVATE_FILE), "not shared", "share=on");
  }

  @Test
  void destinationsPortIsInUse() throws IOException {
    try (ServerSocket inUse = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
        QemuProcess destination = source.incomingTwin("destination").start()) {
      String address = "127.0.0.1:" + inUse.getLocalPort();
      try (AgentProcess agent = receiveOn(destination, address)) {
        requireRefused(agent, address, "in use", "free port");
      }
      // Of a network that is set aside for examples.
      try (AgentProcess agent = receiveOn(destination, "192.0.2.1:0")) {
        requireRefused(agent, "192.0.2.1", "of this host");
      }
    }
  }

  private static AgentProcess receiveOn(QemuProcess destination, String address) {
    return AgentProcess.start(
        List.of(),
        "dest-agent",
        "receive",
        "--json",
        "--qmp",
        destination.agentQmp().toString(),
        "--listen",
        address,
        "--insecure");
  }

  /** Both sides say the same, the source that it is the destination's word. */
  private static void requireBothRefuse(QemuProcess destination, String... words) {
    try (Migration migration = Migration.start(source, destination)) {
      requireRefused(migration.source(), words);
      requireRefused(migration.destination(), words);
      assertThat(migration.source().messages().getFirst()).contains("the destination refuses");
    }
    assertThat(destination.qmp().status()).isEqualTo("inmigrate");
  }

  @Test
  void memoryHasAnotherSize() {
    try (QemuProcess destination =
        source.incomingTwin("destination").memoryMib(MEMORY_MIB + 32).start()) {
      requireBothRefuse(destination, "ram0 (64 MiB)", "ram0 (96 MiB)", "same memory backends");
    }
  }

  @Test
  void memoryHasMoreBlocks() {
    try (QemuProcess destination = source.incomingTwin("destination").numaNodes(2).start()) {
      requireBothRefuse(destination, "ram0 (64 MiB)", "(32 MiB) + ram", "same memory backends");
    }
  }

  @Test
  void memoryHasAnotherName() throws IOException {
    Path file =
        Files.createTempFile(Path.of("/dev/shm"), TestEnvironment.FILE_PREFIX + "other-", ".ram");
    try (QemuProcess destination =
        source
            .incomingTwin("destination")
            .ram(QemuProcess.Ram.DEFAULT)
            .arguments(
                "-object",
                "memory-backend-file,share=on,id=other,size=" + MEMORY_MIB + "M,mem-path=" + file,
                "-machine",
                "memory-backend=other")
            .start()) {
      requireBothRefuse(destination, "ram0 (64 MiB)", "other (64 MiB)", "same ids");
    } finally {
      Files.delete(file);
    }
  }

  @Test
  void anotherUserfaultfdHasTheMemory() {
    TestEnvironment.get().requireRoot();
    try (QemuProcess destination = source.incomingTwin("destination").start()) {
      ForeignUserfaultfd.on(destination, MEMORY_MIB);
      requireBothRefuse(destination, "another userfaultfd", "end the other migration");
      assertThat(Migration.userfaultfds(destination)).as("the other one stays").hasSize(1);
    }
  }

  // What the agents may do.

  private static final List<String> UNPRIVILEGED =
      List.of(
          "setpriv",
          "--reuid=" + TestEnvironment.UNPRIVILEGED_UID,
          "--regid=" + TestEnvironment.UNPRIVILEGED_UID,
          "--clear-groups");

  private static AgentProcess start(List<String> prefix, QemuProcess qemu, String... receive)
      throws IOException {
    Files.setPosixFilePermissions(qemu.agentQmp(), PosixFilePermissions.fromString("rwxrwxrwx"));
    Path state = Files.createTempDirectory(TestEnvironment.FILE_PREFIX + "state-");
    Files.setPosixFilePermissions(state, PosixFilePermissions.fromString("rwxrwxrwx"));
    boolean destination = receive.length > 0;
    return AgentProcess.start(
        prefix,
        destination ? "dest-agent" : "source-agent",
        destination ? "receive" : "migrate",
        "--json",
        "--qmp",
        qemu.agentQmp().toString(),
        destination ? "--listen" : "--to",
        destination ? "127.0.0.1:0" : "127.0.0.1:" + NOBODY_LISTENS,
        "--state-dir",
        state.toString());
  }

  @Test
  void agentMayNotTraceQemu() throws IOException {
    TestEnvironment.get().requireUnprivilegedUser();
    try (AgentProcess agent = start(UNPRIVILEGED, source)) {
      requireRefused(agent, "no right", "root", "CAP_SYS_PTRACE");
    }
    try (QemuProcess destination = source.incomingTwin("destination").start();
        AgentProcess agent = start(UNPRIVILEGED, destination, "receive")) {
      requireRefused(agent, "no right", "root", "CAP_SYS_PTRACE");
    }
  }

  /** An agent that may trace QEMU, but not open /dev/userfaultfd, where QEMU needs that. */
  @Test
  void agentMayNotUseUserfaultfd() throws IOException {
    TestEnvironment.get().requireUnprivilegedUser();
    List<String> tracer =
        Stream.concat(
                UNPRIVILEGED.stream(),
                Stream.of(
                    "--inh-caps=+sys_ptrace,+checkpoint_restore",
                    "--ambient-caps=+sys_ptrace,+checkpoint_restore"))
            .toList();
    try (QemuProcess destination = source.incomingTwin("destination").unprivileged().start();
        AgentProcess receiving = start(tracer, destination, "receive")) {
      requireRefused(receiving, "/dev/userfaultfd", "root");
      assertThat(Migration.userfaultfds(destination)).isEmpty();
    }
  }

  // Who is at the other end.

  private static byte[] bytes(ControlFrame frame) {
    ByteBuf encoded = new FrameWriter(UnpooledByteBufAllocator.DEFAULT).control(frame);
    byte[] bytes = new byte[encoded.readableBytes()];
    encoded.readBytes(bytes).release();
    return bytes;
  }

  @Test
  void destinationSpeaksSomethingElse() {
    try (FakePeer peer = FakePeer.onTcp("220 mail.example.org ESMTP\r\n".getBytes(UTF_8));
        AgentProcess agent = AgentProcess.migrate(source, peer.port())) {
      requireRefused(agent, "127.0.0.1:" + peer.port(), "does not speak", "destination agent");
    }
  }

  @Test
  void destinationIsOfAnotherVersion() {
    try (FakePeer peer =
            FakePeer.onTcp(
                bytes(new ControlFrame.Welcome(Wire.VERSION + 1, ControlFrame.Standing.NEW, 0)));
        AgentProcess agent = AgentProcess.migrate(source, peer.port())) {
      requireRefused(agent, "version " + (Wire.VERSION + 1), "same version on both hosts");
    }
  }

  /** One cannot tell what somebody speaks who says nothing: a failure, and nothing was touched. */
  @Test
  void destinationSaysNothing() {
    try (FakePeer peer = FakePeer.onTcp(new byte[0]);
        AgentProcess agent = AgentProcess.migrate(source, peer.port())) {
      requireFailed(agent, "no answer");
    }
  }

  @Test
  void nobodyListens() {
    long startNs = System.nanoTime();
    try (AgentProcess agent =
        AgentProcess.migrate(source, NOBODY_LISTENS, "--connect-timeout", "1")) {
      requireFailed(agent, "127.0.0.1:" + NOBODY_LISTENS, "within 1 s");
    }
    assertThat(Duration.ofNanos(System.nanoTime() - startNs))
        .as("how long it was tried for")
        .isGreaterThan(Duration.ofSeconds(1));
  }

  private static void requireFailed(AgentProcess agent, String... words) {
    assertThat(agent.awaitExit(TIMEOUT)).as(agent.toString()).isEqualTo(1);
    assertThat(agent.messages()).as(agent.toString()).hasSize(1);
    assertThat(agent.messages().getFirst()).startsWith("failed: ").contains(words);
    assertThat(agent.report().path("status").asString()).isEqualTo("failed");
  }

  private static ControlFrame.Hello hello(int version) {
    return new ControlFrame.Hello(
        version,
        UUID.randomUUID(),
        ConnectionRole.DEMAND,
        0,
        "",
        List.of(new RamBlock("ram0", (long) MEMORY_MIB << 20)));
  }

  /** Whoever it was, the next one may be the right one. */
  @Test
  void sourceOfAnotherVersionIsSentAway() throws IOException {
    try (QemuProcess destination = source.incomingTwin("destination").start();
        AgentProcess agent = AgentProcess.receive(destination)) {
      for (int i = 0; i < 2; i++) {
        try (Socket stranger = say(agent.awaitListening(), bytes(hello(Wire.VERSION + 1)))) {
          assertThat(new String(stranger.getInputStream().readAllBytes(), UTF_8))
              .contains("version " + (Wire.VERSION + 1), "same version on both hosts");
        }
      }
      assertThat(agent.isAlive()).as(agent.toString()).isTrue();
    }
  }

  private static Socket say(int port, byte[] bytes) throws IOException {
    Socket socket = new Socket(InetAddress.getLoopbackAddress(), port);
    socket.setSoTimeout(10_000);
    socket.getOutputStream().write(bytes);
    return socket;
  }

  /**
   * A port on a network is knocked at by all kinds of programs; the migration comes all the same.
   */
  @Test
  void strangersAtTheDestinationAreSentAway() throws IOException {
    byte[] endless = bytes(hello(Wire.VERSION));
    endless[4] = 0x7f;
    byte[] damaged = bytes(hello(Wire.VERSION));
    damaged[damaged.length - 1] ^= 1;
    byte[] early = bytes(new ControlFrame.Commit(true));
    try (QemuProcess moving = guest().start();
        QemuProcess destination = moving.incomingTwin("destination").start();
        AgentProcess agent = AgentProcess.receive(destination)) {
      requireRuns(moving);
      int port = agent.awaitListening();
      for (byte[] greeting :
          List.of("GET / HTTP/1.1\r\n\r\n".getBytes(UTF_8), endless, damaged, early)) {
        try (Socket stranger = say(port, greeting)) {
          assertThat(stranger.getInputStream().readAllBytes()).isEmpty();
        }
      }
      // Greets like a source and is gone.
      try (Socket source = say(port, bytes(hello(Wire.VERSION)))) {
        assertThat(source.getInputStream().read()).isNotEqualTo(-1);
      }
      try (Socket _ = say(port, new byte[0]);
          Migration migration = new Migration(AgentProcess.migrate(moving, port), agent)) {
        assertThat(migration.source().awaitExit(TIMEOUT)).as(migration.toString()).isEqualTo(0);
        assertThat(agent.awaitExit(TIMEOUT)).as(migration.toString()).isEqualTo(0);
      }
      Migration.requireLetGo(moving, destination);
      requireRuns(destination);
    }
  }

  @Test
  void anotherMigrationIsUnderWay() {
    try (QemuProcess moving = guest().start();
        QemuProcess destination = moving.incomingTwin("destination").start();
        AgentProcess agent = AgentProcess.receive(destination, AgentProcess.PATIENT);
        FrameProxy proxy = FrameProxy.to(agent.awaitListening()).holdAt(FrameProxy.Type.READY);
        Migration first = Migration.start(moving, proxy, agent, AgentProcess.PATIENT)) {
      requireRuns(moving);
      proxy.awaitHeld(first);
      try (AgentProcess second = AgentProcess.migrate(source, agent.awaitListening())) {
        requireRefused(second, "another migration", "wait for its end");
      }
      proxy.release();
      assertThat(first.source().awaitExit(TIMEOUT)).as(first.toString()).isEqualTo(0);
      assertThat(agent.awaitExit(TIMEOUT)).as(first.toString()).isEqualTo(0);
      requireRuns(destination);
    }
  }

  // What was typed.

  private static void requireWrongUsage(String script, @Nullable String word, String... arguments) {
    try (AgentProcess agent = AgentProcess.start(List.of(), script, arguments)) {
      assertThat(agent.awaitExit(TIMEOUT)).as(agent.toString()).isEqualTo(2);
      assertThat(agent.stderr()).as(agent.toString()).hasSize(1);
      assertThat(agent.stderr().getFirst()).startsWith("wrong usage: ").contains("--help");
      if (word != null) {
        assertThat(agent.stderr().getFirst()).contains(word);
      }
    }
  }

  @Test
  void usageIsWrong() {
    String qmp = source.agentQmp().toString();
    requireWrongUsage("source-agent", "--to", "migrate", "--qmp", qmp);
    requireWrongUsage("source-agent", "--qmp", "migrate", "--to", "localhost:1");
    requireWrongUsage("source-agent", "HOST:PORT", "migrate", "--qmp", qmp, "--to", "localhost:");
    requireWrongUsage("source-agent", "HOST:PORT", "migrate", "--qmp", qmp, "--to", "a:70000");
    requireWrongUsage("dest-agent", "--listen", "receive", "--qmp", qmp);
    requireWrongUsage("dest-agent", "HOST:PORT", "receive", "--qmp", qmp, "--listen", ":");
    requireWrongUsage("dest-agent", "--what", "receive", "--qmp", qmp, "--listen", "a:0", "--what");
    requireWrongUsage("dest-agent", null);
  }
}
