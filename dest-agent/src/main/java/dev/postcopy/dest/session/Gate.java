package dev.postcopy.dest.session;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.Standing;
import dev.postcopy.wire.Wire;
import io.netty.channel.Channel;
import io.netty.channel.IoEventLoop;
import java.net.InetSocketAddress;
import java.util.HashMap;
import java.util.Map;
import java.util.Queue;
import java.util.UUID;
import java.util.function.Consumer;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The one port: who connects to it says HELLO, and is handed to the migration that it names. Owned
 * by its event loop.
 */
final class Gate implements AutoCloseable {

  private static final Logger log = LoggerFactory.getLogger(Gate.class);

  private final IoEventLoop loop;
  private final Admission admission;
  private final Function<DestinationEvent.Greeted, @Nullable Queue<DestinationEvent>> newcomers;
  private final Consumer<String> mayCome;
  private final Map<UUID, Queue<DestinationEvent>> expected = new HashMap<>();
  private @Nullable Channel listening;

  /**
   * One that is for one migration.
   *
   * @param greetings where all who greet are heard
   */
  static Gate ofOne(IoEventLoop loop, Admission admission, Queue<DestinationEvent> greetings) {
    return new Gate(loop, admission, greeted -> greetings, vm -> {});
  }

  /**
   * @param admission who may connect, and send what
   * @param newcomers asked on the loop about greetings of a migration that is not expected: where
   *     they go, or null where the greeter was {@linkplain #refuse sent away}
   * @param mayCome throws a refusal, on the loop, where a VM of that name cannot come
   */
  Gate(
      IoEventLoop loop,
      Admission admission,
      Function<DestinationEvent.Greeted, @Nullable Queue<DestinationEvent>> newcomers,
      Consumer<String> mayCome) {
    this.loop = loop;
    this.admission = admission;
    this.newcomers = newcomers;
    this.mayCome = mayCome;
  }

  /**
   * Begins to listen; not on the loop.
   *
   * @return where
   * @throws Refusal where the port is taken
   */
  InetSocketAddress listen(HostAndPort address) {
    Channel opened =
        Transport.listen(
            loop, loop, address, admission.tls(), made -> new Greeting(made, this::route));
    listening = opened;
    return Transport.localAddress(opened);
  }

  /**
   * Greetings of this migration go to {@code greetings} from now on, and nobody is asked again
   * whether its source may send this VM. On the loop, or before it listens.
   */
  void expect(UUID session, Queue<DestinationEvent> greetings) {
    expected.put(session, greetings);
  }

  /** Nobody waits for greetings of this migration any more; on the loop. */
  void forget(UUID session) {
    expected.remove(session);
  }

  private @Nullable Queue<DestinationEvent> route(DestinationEvent.Greeted greeted) {
    ControlFrame.Hello hello = greeted.hello();
    if (hello.version() != Wire.VERSION) {
      refuse(
          greeted,
          new Refusal(
              "the source speaks version %d, the destination version %d"
                  .formatted(hello.version(), Wire.VERSION),
              "install the same version on both hosts"));
      return null;
    }
    Queue<DestinationEvent> known = expected.get(hello.session());
    try {
      switch (hello.role()) {
        case DEMAND -> {
          // Asked once: the guest of a migration under way waits for its source, whoever that is.
          if (known == null) {
            admission.require(greeted.connection(), hello);
          }
        }
        // It does not name the VM; it has to know the session.
        case BULK -> {}
        case INQUIRY -> {
          answer(greeted);
          return null;
        }
      }
    } catch (Refusal e) {
      refuse(greeted, e);
      return null;
    }
    return known != null ? known : newcomers.apply(greeted);
  }

  private void answer(DestinationEvent.Greeted inquiry) {
    if (!inquiry.hello().vm().isEmpty()) {
      admission.require(inquiry.connection(), inquiry.hello());
      mayCome.accept(inquiry.hello().vm());
    }
    log.info("{} asked, and has begun no migration", inquiry.connection().peer());
    inquiry.connection().sendAndClose(ControlFrame.Welcome.now(Standing.NEW));
  }

  /** Sends one who greets away; from any thread. */
  static void refuse(DestinationEvent.Greeted greeted, Refusal refusal) {
    refuse(greeted, new ControlFrame.Refuse(refusal.reason(), refusal.remedy()));
  }

  /** {@link #refuse(DestinationEvent.Greeted, Refusal)}. */
  static void refuse(DestinationEvent.Greeted greeted, ControlFrame.Refuse refuse) {
    log.warn("{} is sent away: {}", greeted.connection().peer(), refuse.reason());
    greeted.connection().sendAndClose(refuse);
  }

  @Override
  public void close() {
    if (listening != null) {
      listening.close();
    }
  }
}
