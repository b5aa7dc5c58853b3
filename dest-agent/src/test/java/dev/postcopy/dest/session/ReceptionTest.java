package dev.postcopy.dest.session;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.linux.SocketPair;
import dev.postcopy.linux.UnixSockets;
import dev.postcopy.memory.RamBlock;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.MigrationLoops;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.ControlFrame.Standing;
import dev.postcopy.wire.FrameSink;
import dev.postcopy.wire.Wire;
import io.netty.channel.IoEventLoopGroup;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A destination that stood still finds the connections of all of its source's tries at once. */
@Timeout(value = 30, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class ReceptionTest {

  private final UUID session = UUID.randomUUID();
  private final IoEventLoopGroup loops = EventLoops.named("reception", 1);
  private final MigrationLoops own = new MigrationLoops(Path.of("one.qmp"));
  private final DestinationConversation conversation =
      new DestinationConversation(DestinationPhase.DRAINING);
  private final Reception reception = new Reception(conversation, own);

  /** What the newest of the source's demand connections is told. */
  private final BlockingQueue<ControlFrame> heard = new LinkedBlockingQueue<>();

  @BeforeEach
  void expectTheSource() {
    reception.expect(session, 0);
  }

  @AfterEach
  void shutDown() {
    own.shutDown();
    EventLoops.shutDown(loops);
  }

  private void greet(ConnectionRole role, int attempt, FrameSink source) {
    greetAs(role, attempt, made -> source);
  }

  private void greetAs(ConnectionRole role, int attempt, Function<Connection, FrameSink> source) {
    SocketPair pair = UnixSockets.socketPair();
    Transport.adopt(loops.next(), pair.first().release(), source);
    Connection connection =
        Transport.adopt(loops.next(), pair.second().release(), made -> cause -> {});
    ControlFrame.Hello hello =
        new ControlFrame.Hello(Wire.VERSION, session, role, attempt, "", List.of());
    conversation.queue().add(new DestinationEvent.Greeted(connection, hello));
  }

  private DestinationLink awaitAgain() throws MigrationFailedException {
    return Objects.requireNonNull(
        reception.awaitAgain(Standing.COMMITTED, Long.MAX_VALUE, () -> {}));
  }

  @Test
  void theNewestConnectionOfASourceIsWelcomeBehindAnyNumberOfOlderOnes() throws Exception {
    for (int attempt = 1; attempt < 5; attempt++) {
      greet(ConnectionRole.DEMAND, attempt, cause -> {});
    }
    greet(ConnectionRole.DEMAND, 5, new Listening());
    greet(ConnectionRole.BULK, 5, cause -> {});

    DestinationLink link = awaitAgain();

    assertThat(link.attempt()).isEqualTo(5);
    assertThat(heard.poll(10, TimeUnit.SECONDS))
        .isInstanceOfSatisfying(
            ControlFrame.Welcome.class,
            welcome -> assertThat(welcome.standing()).isEqualTo(Standing.COMMITTED));
    link.close();
  }

  @Test
  void aConnectionThatIsNoNewerIsSentAway() throws Exception {
    greet(ConnectionRole.DEMAND, 0, new Listening());
    greet(ConnectionRole.DEMAND, 1, cause -> {});
    greet(ConnectionRole.BULK, 1, cause -> {});

    DestinationLink link = awaitAgain();

    assertThat(link.attempt()).isEqualTo(1);
    assertThat(heard.poll(10, TimeUnit.SECONDS)).isInstanceOf(ControlFrame.Refuse.class);
    link.close();
  }

  /**
   * The source forgets the migration when it hears that we know: our journal must say so by then.
   */
  @Test
  void aSourceThatHasTheGuestIsToldThatItWasHeardBehindWhatIsToBeNoted() {
    greetAs(ConnectionRole.DEMAND, 1, GivingUp::new);
    List<ControlFrame> heardBefore = new ArrayList<>();

    assertThatThrownBy(
            () ->
                reception.awaitAgain(
                    Standing.LOADED, Long.MAX_VALUE, () -> heardBefore.addAll(heard)))
        .isInstanceOf(SourceGaveUpException.class)
        .hasMessageContaining("the guest is here");

    assertThat(heardBefore)
        .as("told before it was noted")
        .singleElement()
        .isInstanceOf(ControlFrame.Welcome.class);
    assertThat(heard).last().isEqualTo(new ControlFrame.Abort("heard"));
  }

  private final class GivingUp implements FrameSink {

    private final Connection connection;

    GivingUp(Connection connection) {
      this.connection = connection;
    }

    @Override
    public void onControl(ControlFrame frame) {
      heard.add(frame);
      if (frame instanceof ControlFrame.Welcome) {
        connection.send(new ControlFrame.Abort("the guest is here"));
      }
    }

    @Override
    public void onClosed(CloseCause cause) {}
  }

  /** It may go while QEMU is looked at: the session must end, and free the VM's name. */
  @Test
  void aSessionWhoseSourceWentAwayBeforeItWasHeardWaitsForNoOther() {
    RamLayout layout = new RamLayout(List.of(new RamBlock("m", RamLayout.PAGE_BYTES)));
    Reception first = new Reception(new DestinationConversation(DestinationPhase.LISTENING), own);

    assertThatThrownBy(() -> first.awaitFirst(layout, false, Path.of("none")))
        .isInstanceOf(MigrationFailedException.class)
        .hasMessageContaining("the source went away");
  }

  /** Refused while the link was there, it is not what an operator wants when the link is lost. */
  @Test
  void aSourceThatComesBackIsWelcomeAlsoWhereACancelWasRefusedBefore() throws Exception {
    conversation.cancel();
    conversation.unexpected(conversation.take());
    greet(ConnectionRole.DEMAND, 1, cause -> {});
    greet(ConnectionRole.BULK, 1, cause -> {});

    DestinationLink link = awaitAgain();

    assertThat(link.attempt()).isEqualTo(1);
    link.close();
  }

  /** Somebody else's guest: the migration under way goes on. */
  @Test
  void whoGreetsWhileQemuIsMadeReadyIsSentAway() throws Exception {
    DestinationConversation begun = new DestinationConversation(DestinationPhase.LISTENING);
    Reception first = new Reception(begun, own);
    greet(ConnectionRole.DEMAND, 0, new Listening());

    first.handle(conversation.take());

    assertThat(heard.poll(10, TimeUnit.SECONDS)).isInstanceOf(ControlFrame.Refuse.class);
  }

  private final class Listening implements FrameSink {
    @Override
    public void onControl(ControlFrame frame) {
      heard.add(frame);
    }

    @Override
    public void onClosed(CloseCause cause) {}
  }
}
