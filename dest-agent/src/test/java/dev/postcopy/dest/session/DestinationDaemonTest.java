package dev.postcopy.dest.session;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import dev.postcopy.daemon.VmFolder;
import dev.postcopy.metrics.MigrationLedger;
import dev.postcopy.transport.tls.TlsSettings;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.FrameWriter;
import dev.postcopy.wire.Wire;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.UnpooledByteBufAllocator;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Who greets a destination that serves, and is none of its sources. */
@Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class DestinationDaemonTest {

  @TempDir private Path folder;

  @SuppressWarnings("NullAway.Init") // set before each test
  private DestinationDaemon daemon;

  private int port;

  @BeforeEach
  void serve() throws IOException {
    Files.createDirectory(folder.resolve("vms"));
    CompletableFuture<InetSocketAddress> address = new CompletableFuture<>();
    daemon = start(address);
    port = address.join().getPort();
  }

  private DestinationDaemon start(CompletableFuture<InetSocketAddress> address) {
    return DestinationDaemon.start(
        new ReceiveOptions(
            Path.of(""),
            HostAndPort.parse("127.0.0.1:0"),
            folder.resolve("state"),
            Duration.ofSeconds(5),
            new TlsSettings(Optional.empty(), folder.resolve("none"), true),
            Optional.empty()),
        new VmFolder(Optional.of(folder.resolve("vms"))),
        new CommandRunner(thrown -> null)::toOutcome,
        new MigrationLedger(folder, Optional.empty()),
        Map.of(),
        address::complete);
  }

  @AfterEach
  void stop() {
    daemon.stop();
  }

  private static ControlFrame.Hello hello(
      int version, ConnectionRole role, int attempt, String vm) {
    return new ControlFrame.Hello(version, new UUID(1, 2), role, attempt, vm, List.of());
  }

  /** What is answered until the connection is closed. */
  private String greet(ControlFrame.Hello hello) throws IOException {
    ByteBuf frame = new FrameWriter(UnpooledByteBufAllocator.DEFAULT).control(hello);
    try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
      socket.setSoTimeout(30_000);
      socket.getOutputStream().write(ByteBufUtil.getBytes(frame));
      return new String(socket.getInputStream().readAllBytes(), ISO_8859_1);
    } finally {
      frame.release();
    }
  }

  private String greetAs(String vm) throws IOException {
    return greet(hello(Wire.VERSION, ConnectionRole.DEMAND, 0, vm));
  }

  @ParameterizedTest
  @ValueSource(strings = {"../state", "..", ".hidden", "a/b", "/etc/passwd"})
  void aNameIsNeverAPath(String vm) throws IOException {
    assertThat(greetAs(vm)).contains("is no name of a VM");
  }

  @Test
  void aMachineThatIsNotThereIsNamed() throws IOException {
    assertThat(greetAs("web")).contains("no VM 'web' here", "-qmp unix:");
  }

  @Test
  void aSourceHasToSayWhichMachineItSends() throws IOException {
    assertThat(greetAs("")).contains("does not say which");
  }

  @Test
  void whatIsNotQemuIsToldToTheSourceAndTheNextOneIsHeard() throws IOException {
    Files.createFile(folder.resolve("vms/file"));
    for (int i = 0; i < 2; i++) {
      assertThat(greetAs("file")).contains("cannot connect to the QMP socket");
    }
  }

  @Test
  void whoComesInTheMiddleOfNothingIsSentAway() throws IOException {
    assertThat(greet(hello(Wire.VERSION, ConnectionRole.BULK, 0, "")))
        .contains("nothing is known of this migration here");
    assertThat(greet(hello(Wire.VERSION, ConnectionRole.DEMAND, 1, "web")))
        .contains("nothing is known of this migration here");
  }

  /** A source that hears that nothing is known forgets the migration: that must be true. */
  @Test
  void aJournalThatCannotBeReadIsNotTakenForNone() throws IOException {
    String journal = new UUID(1, 2) + ".destination";
    Files.writeString(folder.resolve("state").resolve(journal), "no JSON\n");

    assertThat(greet(hello(Wire.VERSION, ConnectionRole.DEMAND, 1, "web")))
        .contains(journal + " cannot be read")
        .doesNotContain("nothing is known");
  }

  /** As preflight does it, before anybody wants to move a guest. */
  @Test
  void whoAsksWhetherAMachineMayComeIsToldAndBeginsNothing() throws IOException {
    assertThat(greet(hello(Wire.VERSION, ConnectionRole.INQUIRY, 0, "web")))
        .contains("no VM 'web' here");
    assertThat(greet(hello(Wire.VERSION, ConnectionRole.INQUIRY, 0, "../state")))
        .contains("is no name of a VM");
    Files.createFile(folder.resolve("vms/web"));
    for (String vm : List.of("", "web", "web")) {
      assertThat(greet(hello(Wire.VERSION, ConnectionRole.INQUIRY, 0, vm)))
          .as("WELCOME, and nothing of a refusal: asked about '%s'", vm)
          .hasSize(12 + 11);
    }
  }

  @Test
  void anotherVersionEndsNothing() throws IOException {
    assertThat(greet(hello(Wire.VERSION + 1, ConnectionRole.DEMAND, 0, "web")))
        .contains("version " + (Wire.VERSION + 1), "same version on both hosts");
    assertThat(greetAs("web")).contains("no VM 'web' here");
  }

  @Test
  void aSecondAgentForTheSameStateIsRefused() {
    assertThatThrownBy(() -> start(new CompletableFuture<>()))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining("another agent is at work");
  }
}
