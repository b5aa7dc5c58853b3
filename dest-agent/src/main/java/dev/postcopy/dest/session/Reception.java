package dev.postcopy.dest.session;

import dev.postcopy.cli.Refusal;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.transport.Connection;
import dev.postcopy.transport.LinkEvents;
import dev.postcopy.transport.MigrationLoops;
import dev.postcopy.wire.CloseCause;
import dev.postcopy.wire.ControlFrame;
import dev.postcopy.wire.ControlFrame.ConnectionRole;
import dev.postcopy.wire.ControlFrame.Standing;
import dev.postcopy.wire.FrameSink;
import io.netty.channel.IoEventLoop;
import java.nio.file.Path;
import java.time.Duration;
import java.util.UUID;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Decides who of those that greet is the source: whoever comes first with the right RAM, and from
 * then on whoever knows the session and comes later than before. Others are sent away. For the
 * session's thread.
 */
final class Reception {

  private static final Logger log = LoggerFactory.getLogger(Reception.class);

  /** The source opens its second connection as soon as the first is welcome. */
  private static final Duration SECOND_PATIENCE = Duration.ofSeconds(5);

  /** The greeting that a session was made for is in its queue, unless who greeted went away. */
  private static final Duration FIRST_PATIENCE = Duration.ofSeconds(5);

  private static final String WENT_AWAY = "the source went away";

  private final DestinationConversation conversation;
  private final MigrationLoops loops;
  private @Nullable UUID session;
  private int lastAttempt;
  private DestinationEvent.@Nullable Greeted returning;

  /**
   * @param conversation to whose queue greetings are posted
   * @param loops to which welcome connections move
   */
  Reception(DestinationConversation conversation, MigrationLoops loops) {
    this.conversation = conversation;
    this.loops = loops;
  }

  /** The migration is known from a journal: only its source is welcome. */
  void expect(UUID known, int attempt) {
    session = known;
    lastAttempt = attempt;
  }

  /** Which migration the source that is here belongs to. */
  UUID session() {
    if (session == null) {
      throw new IllegalStateException("nobody came yet");
    }
    return session;
  }

  /**
   * Waits for both connections of one source whose guest fits; others are sent away.
   *
   * @param mayFollow whether another source may come where the first one goes away again; else it
   *     has greeted already
   * @param stateFolder where the journals of other migrations are
   */
  DestinationLink awaitFirst(RamLayout layout, boolean mayFollow, Path stateFolder)
      throws MigrationFailedException {
    long deadline = System.nanoTime() + FIRST_PATIENCE.toNanos();
    while (true) {
      DestinationEvent event =
          mayFollow ? conversation.take() : conversation.poll(millisUntil(deadline));
      if (event == null) {
        throw new MigrationFailedException(WENT_AWAY);
      }
      if (!(event instanceof DestinationEvent.Greeted(var made, var hello))) {
        conversation.unexpected(event);
        continue;
      }
      if (hello.role() != ConnectionRole.DEMAND || hello.attempt() != 0) {
        refuseUnknown(made, hello, stateFolder);
        continue;
      }
      requireSameLayout(made, hello, layout);
      session = hello.session();
      DestinationLink link = complete(made, hello, Standing.NEW, () -> {});
      if (link != null) {
        return link;
      }
      if (!mayFollow) {
        throw new MigrationFailedException(WENT_AWAY);
      }
      session = null;
    }
  }

  /** Its source forgets a migration that nobody is in doubt about. */
  private static void refuseUnknown(
      Connection connection, ControlFrame.Hello hello, Path stateFolder) {
    try {
      if (EarlierMigrations.of(hello.session(), stateFolder).isPresent()) {
        refuse(
            connection,
            "the agent of this migration has ended, and this one is of another",
            "take it up with dest-agent resume");
      } else {
        connection.sendAndClose(ControlFrame.Refuse.OF_AN_UNKNOWN_MIGRATION);
      }
    } catch (Refusal e) {
      refuse(connection, e.reason(), e.remedy());
    }
  }

  /**
   * Waits for the source to come back.
   *
   * @param patienceMillis Long.MAX_VALUE: for ever
   * @param onGivenUp run where the source comes to say that it has the guest, before it is told
   *     that it was heard: it forgets the migration then
   * @return null where it does not
   */
  @Nullable DestinationLink awaitAgain(Standing standing, long patienceMillis, Runnable onGivenUp)
      throws MigrationFailedException {
    long deadline =
        System.nanoTime() + Duration.ofMillis(Math.min(patienceMillis, 1L << 40)).toNanos();
    while (true) {
      DestinationEvent event = returning;
      returning = null;
      if (event == null) {
        event = conversation.poll(millisUntil(deadline));
      }
      if (event == null) {
        return null;
      }
      if (conversation.isCancelled()) {
        throw new MigrationFailedException("interrupted while the source cannot be reached");
      }
      if (!(event instanceof DestinationEvent.Greeted(var made, var hello))) {
        conversation.unexpected(event);
      } else if (!returns(hello)) {
        refuse(made, hello);
      } else {
        DestinationLink link = complete(made, hello, standing, onGivenUp);
        if (link != null) {
          return link;
        }
      }
    }
  }

  /**
   * Somebody greets while a link is there: the source itself, where it has lost the link and we
   * have not noticed; all others are sent away.
   */
  private void receive(DestinationEvent.Greeted greeted) throws LinkLostException {
    if (returns(greeted.hello()) && !conversation.phase().canBeGivenUp()) {
      returning = greeted;
      throw new LinkLostException("the source has connected anew");
    }
    refuse(greeted.connection(), greeted.hello());
  }

  /** What an event means that no step was waiting for, of those who greet too. */
  void handle(DestinationEvent event) throws MigrationFailedException {
    if (event instanceof DestinationEvent.Greeted greeted) {
      receive(greeted);
    } else {
      conversation.unexpected(event);
    }
  }

  private boolean returns(ControlFrame.Hello hello) {
    return hello.session().equals(session)
        && hello.role() == ConnectionRole.DEMAND
        && hello.attempt() > lastAttempt;
  }

  /**
   * Welcomes the demand connection and waits for its bulk connection; null where it does not come.
   * Of a source that has tried for long all connections arrive at once, and the newest is the one
   * that it has not given up.
   */
  private @Nullable DestinationLink complete(
      Connection demand, ControlFrame.Hello hello, Standing standing, Runnable onGivenUp)
      throws MigrationFailedException {
    LinkEvents<DestinationEvent> events =
        new LinkEvents<>(conversation.queue(), DestinationEvent.OfLink.class::isInstance);
    lastAttempt = hello.attempt();
    try {
      welcome(
          demand, loops.demand(), standing, new ConversationSink(ConnectionRole.DEMAND, events));
      return awaitSecond(demand, hello, standing, onGivenUp, events);
    } catch (MigrationFailedException | RuntimeException e) {
      events.close();
      demand.closeAndWait();
      throw e;
    }
  }

  private @Nullable DestinationLink awaitSecond(
      Connection demand,
      ControlFrame.Hello hello,
      Standing standing,
      Runnable onGivenUp,
      LinkEvents<DestinationEvent> events)
      throws MigrationFailedException {
    long deadline = System.nanoTime() + SECOND_PATIENCE.toNanos();
    while (true) {
      DestinationEvent event = conversation.poll(millisUntil(deadline));
      switch (event) {
        case null -> {
          return giveUp(demand, events, "its second connection did not come");
        }
        case DestinationEvent.Greeted newer
            when standing != Standing.NEW && returns(newer.hello()) -> {
          returning = newer;
          return giveUp(demand, events, "it has connected anew");
        }
        case DestinationEvent.Greeted(Connection made, ControlFrame.Hello second) -> {
          if (second.role() == ConnectionRole.BULK
              && second.session().equals(hello.session())
              && second.attempt() == hello.attempt()) {
            welcome(
                made, loops.bulk(), standing, new ConversationSink(ConnectionRole.BULK, events));
            return new DestinationLink(demand, made, hello.attempt(), events);
          }
          refuse(made, second);
        }
        case DestinationEvent.ConnectionLost(ConnectionRole role, CloseCause cause) -> {
          return giveUp(demand, events, cause.text());
        }
        case DestinationEvent.Said(ControlFrame.Abort(String reason)) -> {
          if (standing == Standing.NEW) {
            return giveUp(demand, events, reason);
          }
          // The last word for a destination in doubt; the source waits to hear that we heard it.
          onGivenUp.run();
          demand.sendLast(new ControlFrame.Abort("heard"));
          throw new SourceGaveUpException(reason);
        }
        default -> conversation.unexpected(event);
      }
    }
  }

  private static long millisUntil(long deadlineNanos) {
    return Math.max(0, (deadlineNanos - System.nanoTime()) / 1_000_000);
  }

  private static @Nullable DestinationLink giveUp(
      Connection demand, LinkEvents<DestinationEvent> events, String cause) {
    log.warn("the source went away: {}", cause);
    events.close();
    demand.closeAndWait();
    return null;
  }

  private static void requireSameLayout(
      Connection connection, ControlFrame.Hello hello, RamLayout layout) {
    String difference;
    try {
      difference = new RamLayout(hello.blocks()).differenceTo(layout).orElse("");
    } catch (IllegalArgumentException e) {
      difference = String.valueOf(e.getMessage());
    }
    if (!difference.isEmpty()) {
      String reason = "the RAM differs: " + difference;
      String remedy = "give both QEMUs the same memory backends, with the same ids";
      refuseForGood(connection, reason, remedy);
      throw new Refusal(reason, remedy);
    }
  }

  /** The agent ends behind this: the source shall hear why, not only that. */
  static void refuseForGood(Connection connection, String reason, String remedy) {
    connection.sendLast(new ControlFrame.Refuse(reason, remedy));
  }

  private void refuse(Connection connection, ControlFrame.Hello hello) {
    if (hello.session().equals(session)) {
      refuse(connection, "a connection of this migration came later", "wait for the newest");
    } else {
      refuse(connection, "another migration to this QEMU is under way", "wait for its end");
    }
  }

  private static void refuse(Connection connection, String reason, String remedy) {
    connection.sendAndClose(new ControlFrame.Refuse(reason, remedy));
  }

  private static void welcome(
      Connection connection, IoEventLoop loop, Standing standing, FrameSink sink) {
    connection.markKnown();
    connection.moveTo(loop);
    connection.handOver(sink);
    connection.send(ControlFrame.Welcome.now(standing));
  }

  /** A connection before pages may come on it. */
  private record ConversationSink(ConnectionRole role, Consumer<DestinationEvent> events)
      implements FrameSink {
    @Override
    public void onControl(ControlFrame frame) {
      events.accept(new DestinationEvent.Said(frame));
    }

    @Override
    public void onClosed(CloseCause cause) {
      events.accept(new DestinationEvent.ConnectionLost(role, cause));
    }
  }
}
