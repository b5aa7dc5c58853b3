package dev.postcopy.source.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.memory.RamBlock;
import dev.postcopy.source.memory.GuestMemory;
import dev.postcopy.source.page.BackgroundPusher.PushOrder;
import dev.postcopy.source.page.BandwidthLimit;
import dev.postcopy.source.page.BulkWindow;
import dev.postcopy.source.page.SentPages;
import dev.postcopy.transport.ClockSkew;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.LinkEvents;
import dev.postcopy.transport.MigrationLoops;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.ControlFrame.Standing;
import dev.postcopy.wire.Wire;
import io.netty.channel.EventLoopGroup;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.UUID;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One pair of connections to the destination, and what serves pages on them. The session's thread
 * opens and closes it; what happens on it is posted to the session until it is closed.
 */
final class SourceLink implements AutoCloseable {

  private static final Logger log = LoggerFactory.getLogger(SourceLink.class);

  private static final Duration HANDSHAKE_PATIENCE = Duration.ofSeconds(5);
  private static final Duration ABORT_ANSWER_PATIENCE = Duration.ofSeconds(1);

  private final LinkEvents<SourceEvent> events;
  private final PageServing pages;
  private @Nullable Connection demand;
  private @Nullable Connection bulk;
  private Standing standing = Standing.NEW;

  private SourceLink(LinkEvents<SourceEvent> events, PageServing pages) {
    this.events = events;
    this.pages = pages;
  }

  /**
   * All that links of one migration have in common.
   *
   * @param vm the name by which the destination knows the guest; empty where it needs none
   * @param patience how long the destination may be silent
   */
  record Parts(
      UUID session,
      String vm,
      Destination destination,
      EventLoopGroup demandLoop,
      EventLoopGroup bulkLoop,
      GuestMemory memory,
      SentPages sent,
      BulkWindow window,
      BandwidthLimit limit,
      PushOrder order,
      Duration patience) {

    /** Those of a migration of which nothing was sent yet. */
    static Parts of(
        UUID session,
        String vm,
        MigrateOptions options,
        Destination destination,
        MigrationLoops loops,
        GuestMemory memory,
        BandwidthLimit limit) {
      return new Parts(
          session,
          vm,
          destination,
          loops.demand(),
          loops.bulk(),
          memory,
          new SentPages(memory.layout().pageCount()),
          options.window(),
          limit,
          options.pushOrder(),
          options.peerPatience());
    }
  }

  /**
   * Connects and says HELLO on both connections.
   *
   * @param attempt 0 for the first link
   * @param connectPatience how long to try while nobody listens
   */
  static SourceLink open(
      Parts parts, SourceConversation conversation, int attempt, Duration connectPatience)
      throws MigrationFailedException {
    conversation.startLink();
    LinkEvents<SourceEvent> events =
        new LinkEvents<>(conversation.queue(), SourceEvent.OfLink.class::isInstance);
    PageServing pages =
        new PageServing(
            parts.memory,
            parts.sent,
            parts.window,
            parts.limit,
            parts.order,
            parts.patience,
            events);
    SourceLink link = new SourceLink(events, pages);
    try {
      link.connect(parts, conversation, attempt, connectPatience);
      return link;
    } catch (MigrationFailedException | RuntimeException e) {
      link.close();
      throw e;
    }
  }

  private void connect(
      Parts parts, SourceConversation conversation, int attempt, Duration connectPatience)
      throws MigrationFailedException {
    demand = parts.destination.connect(parts.demandLoop, connectPatience, pages::onDemandConnected);
    List<RamBlock> blocks = parts.memory.layout().blocks();
    long askedMillis = System.currentTimeMillis();
    demand().send(hello(parts.session, ConnectionRole.DEMAND, attempt, parts.vm, blocks));
    ControlFrame.Welcome welcome = welcome(conversation);
    standing = welcome.standing();
    ClockSkew skew = ClockSkew.of(askedMillis, welcome.epochMillis(), System.currentTimeMillis());
    if (attempt == 0 && skew.isNotable()) {
      log.warn("{}", skew.ofTheDestination());
    }
    bulk = parts.destination.connect(parts.bulkLoop, HANDSHAKE_PATIENCE, pages::onBulkConnected);
    bulk().send(hello(parts.session, ConnectionRole.BULK, attempt, "", List.of()));
    var _ = welcome(conversation);
  }

  private static ControlFrame.Hello hello(
      UUID session, ConnectionRole role, int attempt, String vm, List<RamBlock> blocks) {
    return new ControlFrame.Hello(Wire.VERSION, session, role, attempt, vm, blocks);
  }

  private static ControlFrame.Welcome welcome(SourceConversation conversation)
      throws MigrationFailedException {
    ControlFrame.Welcome welcome =
        conversation.expect(ControlFrame.Welcome.class, HANDSHAKE_PATIENCE);
    Optional<String> other = welcome.otherVersion();
    if (other.isPresent()) {
      if (!conversation.phase().isUntouched()) {
        throw new UnwelcomeException(other.get());
      }
      throw new Refusal(other.get(), "install the same version on both hosts");
    }
    return welcome;
  }

  Connection demand() {
    return require(demand);
  }

  Connection bulk() {
    return require(bulk);
  }

  private static Connection require(@Nullable Connection connection) {
    if (connection == null) {
      throw new IllegalStateException("not connected");
    }
    return connection;
  }

  /**
   * Says that this side gives up, and waits for the destination to say so too.
   *
   * <p>That it closes the connection does not tell that it has heard: where the other one has
   * failed it gives up both, and waits for the next. Only its own ABORT does.
   *
   * @return whether it has heard
   */
  boolean giveUp(String reason, SourceConversation conversation) {
    if (demand == null) {
      return false;
    }
    demand.send(new ControlFrame.Abort(reason));
    return conversation.awaitAbort(ABORT_ANSWER_PATIENCE);
  }

  PageServing pages() {
    return pages;
  }

  /** How far the destination had come when this link was opened. */
  Standing standing() {
    return standing;
  }

  /** Closes both; no loop reads the guest's memory when this returns. */
  @Override
  public void close() {
    events.close();
    if (demand != null) {
      demand.closeAndWait();
    }
    if (bulk != null) {
      bulk.closeAndWait();
    }
  }
}
