package dev.postcopy.dest.session;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.cli.ExitCode;
import dev.postcopy.cli.HostAndPort;
import dev.postcopy.journal.DestinationEntry;
import dev.postcopy.journal.Journal;
import dev.postcopy.journal.VmIdentity;
import dev.postcopy.linux.ProcessStart;
import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.metrics.Outcome;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.Transport;
import dev.postcopy.transport.tls.TlsSettings;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.FrameSink;
import dev.postcopy.wire.Wire;
import io.netty.channel.IoEventLoopGroup;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.Function;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Every page is here, the agent died, and the source comes back to say how it ended. */
@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class ResumeSessionTest {

  private static final int PID = (int) ProcessHandle.current().pid();

  private final UUID migration = UUID.randomUUID();
  private final IoEventLoopGroup loops = EventLoops.named("source", 1);

  /** What the source is told. */
  private final BlockingQueue<ControlFrame> heard = new LinkedBlockingQueue<>();

  @TempDir private Path folder;

  @AfterEach
  void shutDown() {
    EventLoops.shutDown(loops);
  }

  /** Of a migration to a QEMU that is gone: this needs none. */
  private Journal<DestinationEntry> leaveCompleted() {
    DestinationEntry entry =
        new DestinationEntry(
            migration,
            DestinationEntry.State.COMPLETED,
            0,
            new VmIdentity(PID, ProcessStart.ticks(PID) - 1, "/run/vm.qmp", List.of()),
            -1,
            true,
            null);
    try (Journal<DestinationEntry> journal =
        Journal.create(
            folder, migration.toString(), DestinationEntry.KIND, DestinationEntry.class)) {
      journal.write(entry);
      return journal;
    }
  }

  private ResumeSession takenUp() {
    return new ResumeSession(
        new ReceiveOptions(
            Path.of("/run/vm.qmp"),
            HostAndPort.parse("127.0.0.1:0"),
            folder,
            Duration.ofSeconds(5),
            new TlsSettings(Optional.empty(), folder.resolve("none"), true),
            Optional.empty()),
        leaveCompleted());
  }

  /** Returns the source's end of a connection that greets. */
  private Connection greet(
      ResumeSession session, ConnectionRole role, Function<Connection, FrameSink> source) {
    SocketPair pair = UnixSockets.socketPair();
    Connection there = Transport.adopt(loops.next(), pair.first().release(), source);
    Connection here = Transport.adopt(loops.next(), pair.second().release(), made -> cause -> {});
    ControlFrame.Hello hello =
        new ControlFrame.Hello(Wire.VERSION, migration, role, 1, "", List.of());
    session.greetings().add(new DestinationEvent.Greeted(here, hello));
    return there;
  }

  /** The source comes back on both connections to say this. */
  private Outcome takeUpWith(ControlFrame lastWord) {
    ResumeSession session = takenUp();
    Connection demand = greet(session, ConnectionRole.DEMAND, made -> new Source(made, () -> {}));
    greet(session, ConnectionRole.BULK, made -> new Source(made, () -> demand.send(lastWord)));
    return session.run();
  }

  /** The source opens one connection to say this, where its first word was not answered. */
  private Outcome takeUpWithNothingBut(ControlFrame lastWord) {
    ResumeSession session = takenUp();
    greet(session, ConnectionRole.DEMAND, made -> new Source(made, () -> made.send(lastWord)));
    return session.run();
  }

  private final class Source implements FrameSink {

    private final Connection connection;
    private final Runnable onWelcome;

    Source(Connection connection, Runnable onWelcome) {
      this.connection = connection;
      this.onWelcome = onWelcome;
    }

    @Override
    public void onControl(ControlFrame frame) {
      heard.add(frame);
      if (frame instanceof ControlFrame.Welcome) {
        onWelcome.run();
      } else {
        connection.close();
      }
    }

    @Override
    public void onClosed(CloseCause cause) {}
  }

  private void requireDistrusted(Outcome outcome) {
    assertThat(outcome.exitCode()).isEqualTo(ExitCode.INCOMPLETE_AT_DESTINATION);
    assertThat(outcome.report().status()).isEqualTo("incomplete");
    assertThat(outcome.report().reason()).contains("the source gave up: the counts differ");
    assertThat(heard).as("answered").last().isInstanceOf(ControlFrame.Abort.class);
    assertThat(EarlierMigrations.in(folder)).as("nothing is left to be done").isEmpty();
  }

  /** It found another writer of the RAM file, or counted other pages: exit code 3 on both sides. */
  @Test
  void aSourceThatDoesNotTrustWhatItSentIsAnsweredAndBelieved() {
    requireDistrusted(takeUpWith(new ControlFrame.Abort("the counts differ")));
  }

  @Test
  void aSourceThatComesBackOnlyToSayThatItDoesNotTrustWhatItSentIsBelievedToo() {
    requireDistrusted(takeUpWithNothingBut(new ControlFrame.Abort("the counts differ")));
  }

  @Test
  void aSourceThatConfirmsEndsItWell() {
    Outcome outcome = takeUpWith(new ControlFrame.Confirmed(1000, 2000, 3000));

    assertThat(outcome.exitCode()).isEqualTo(ExitCode.COMPLETED);
    assertThat(outcome.report().reason()).isEmpty();
    assertThat(EarlierMigrations.in(folder)).isEmpty();
  }
}
