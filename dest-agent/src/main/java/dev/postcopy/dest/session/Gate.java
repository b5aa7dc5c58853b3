package dev.postcopy.dest.session;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import dev.postcopy.transport.Transport;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.Wire;
import io.netty.channel.Channel;
import io.netty.channel.IoEventLoop;
import java.net.InetSocketAddress;
import java.util.HashMap;
import java.util.Map;
import java.util.Queue;
import java.util.UUID;
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
  private final Map<UUID, Queue<DestinationEvent>> expected = new HashMap<>();
  private @Nullable Channel listening;

  /**
   * @param admission who may connect, and send what
   * @param newcomers asked on the loop about greetings of a migration that is not expected: where
   *     they go, or null where the greeter was {@linkplain #refuse sent away}
   */
  Gate(
      IoEventLoop loop,
      Admission admission,
      Function<DestinationEvent.Greeted, @Nullable Queue<DestinationEvent>> newcomers) {
    this.loop = loop;
    this.admission = admission;
    this.newcomers = newcomers;
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

  /** Greetings of this migration go to {@code greetings} from now on; on the loop. */
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
    try {
      // The other connection of a pair does not name the VM; it has to know the session.
      if (hello.role() == ConnectionRole.DEMAND) {
        admission.require(greeted.connection(), hello);
      }
    } catch (Refusal e) {
      refuse(greeted, e);
      return null;
    }
    Queue<DestinationEvent> known = expected.get(hello.session());
    return known != null ? known : newcomers.apply(greeted);
  }

  /** Sends one who greets away; from any thread. */
  static void refuse(DestinationEvent.Greeted greeted, Refusal refusal) {
    log.warn("{} is sent away: {}", greeted.connection().peer(), refusal.reason());
    greeted.connection().sendAndClose(new ControlFrame.Refuse(refusal.reason(), refusal.remedy()));
  }

  @Override
  public void close() {
    if (listening != null) {
      listening.close();
    }
  }
}
