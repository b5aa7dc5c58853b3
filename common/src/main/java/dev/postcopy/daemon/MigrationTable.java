package dev.postcopy.daemon;

import dev.postcopy.cli.ExitCode;
import dev.postcopy.cli.Refusal;
import dev.postcopy.control.Answers;
import dev.postcopy.logging.LogFields;
import dev.postcopy.metrics.MigrationLedger;
import dev.postcopy.metrics.MigrationProgress;
import dev.postcopy.metrics.Outcome;
import io.netty.channel.IoEventLoop;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * The migrations of a daemon: those under way, one for each virtual machine, and how the last of
 * each ended. The one place where a migration begins and ends. Owned by the daemon's event loop;
 * each migration has a thread of its own.
 */
public final class MigrationTable {

  private static final Logger log = LoggerFactory.getLogger(MigrationTable.class);
  private static final int MAX_ENDED = 256;
  private static final int SAMPLE_MILLIS = 1000;
  private static final int FOLLOW_MILLIS = 250;
  private static final int SETTLE_MILLIS = 20;

  private final IoEventLoop loop;
  private final Function<Supplier<Outcome>, Outcome> toOutcome;
  private final MigrationLedger ledger;
  private final ServiceManager serviceManager;
  private final Map<Path, Entry> entries = new LinkedHashMap<>();
  private final LoopRound loopRound;

  /**
   * @param loop the daemon's
   * @param toOutcome runs a migration; what it throws is an outcome too
   * @param ledger watches each
   */
  public MigrationTable(
      IoEventLoop loop,
      Function<Supplier<Outcome>, Outcome> toOutcome,
      MigrationLedger ledger,
      ServiceManager serviceManager) {
    this.loop = loop;
    this.toOutcome = toOutcome;
    this.ledger = ledger;
    this.serviceManager = serviceManager;
    this.loopRound = new LoopRound(loop);
    serviceManager.keepAlive(this::loopsTurn);
    var _ =
        loop.scheduleAtFixedRate(this::sample, SAMPLE_MILLIS, SAMPLE_MILLIS, TimeUnit.MILLISECONDS);
  }

  /**
   * A migration, and who it is about.
   *
   * @param vm its name
   * @param socket its QEMU's monitor, absolute
   * @param peer the other host, for operators
   */
  public record Subject(String vm, Path socket, String peer) {}

  /**
   * Begins a migration, on a thread of its own; on the loop.
   *
   * @param onEnd called on the loop when it has ended
   * @throws Refusal where one of the same machine is under way
   */
  public void start(Subject subject, Migration migration, Consumer<Outcome> onEnd) {
    requireIdle(subject.socket());
    Entry entry = new Entry(subject, migration);
    // Removed first: the newest is the last.
    entries.remove(subject.socket());
    entries.put(subject.socket(), entry);
    entry.during(
        () -> log.info("the migration of {} begins, peer {}", subject.vm(), subject.peer()));
    Thread.ofPlatform()
        .daemon()
        .name("migration " + subject.vm())
        .start(
            () ->
                entry.during(
                    () -> {
                      Outcome outcome =
                          toOutcome.apply(
                              () -> ledger.watch(migration.view(subject.vm()), migration::run));
                      loop.execute(() -> entry.during(() -> end(entry, outcome, onEnd)));
                    }));
    sample();
  }

  /**
   * @throws Refusal where a migration of the machine behind {@code socket} is under way; on the
   *     loop
   */
  public void requireIdle(Path socket) {
    Entry entry = entries.get(socket);
    if (entry != null && entry.outcome == null) {
      throw new Refusal(
          "a migration of %s is under way".formatted(entry.subject.vm()),
          "wait for its end, or cancel it");
    }
  }

  private void end(Entry entry, Outcome outcome, Consumer<Outcome> onEnd) {
    entry.end(outcome);
    if (outcome.exitCode() == ExitCode.COMPLETED) {
      log.info("the migration of {} is completed", entry.subject.vm());
    } else {
      log.warn(
          "the migration of {}: {}: {}",
          entry.subject.vm(),
          outcome.report().status(),
          outcome.report().reason());
    }
    // At once: the agent may be about to end too.
    entry.followers.forEach(follower -> follower.last(entry.status()));
    entry.followers.clear();
    forgetOldest();
    onEnd.accept(outcome);
    sample();
  }

  private void forgetOldest() {
    int surplus = entries.size() - MAX_ENDED;
    Iterator<Entry> all = entries.values().iterator();
    while (surplus > 0 && all.hasNext()) {
      if (all.next().outcome != null) {
        all.remove();
        surplus--;
      }
    }
  }

  private void sample() {
    List<String> active = new ArrayList<>();
    for (Entry entry : entries.values()) {
      if (entry.outcome == null) {
        entry.sample();
        active.add(entry.summary());
      }
    }
    serviceManager.status(
        active.isEmpty()
            ? "no migration under way"
            : "%d under way: %s".formatted(active.size(), String.join(", ", active)));
  }

  /** Whether all event loops have answered since they were asked; asks them anew. */
  private boolean loopsTurn() {
    if (!loopRound.isOver()) {
      log.warn(
          "an event loop does not turn, of the migration of {}; systemd is not told that this agent"
              + " lives",
          String.join(", ", loopRound.waitsFor()));
      return false;
    }
    for (Entry entry : entries.values()) {
      Migration migration = entry.migration;
      if (migration != null) {
        migration.loops().forEach(own -> loopRound.ask(entry.subject.vm(), own));
      }
    }
    return true;
  }

  /**
   * Answers what is the same at both sides: list, status, follow, cancel.
   *
   * @return false where it is another command
   * @throws Refusal which is the answer then
   */
  public boolean answer(JsonNode request, Answers answers) {
    switch (request.path("command").asString("")) {
      case "list" -> {
        ArrayNode all = JsonNodeFactory.instance.arrayNode();
        entries.values().forEach(entry -> all.add(entry.status()));
        ObjectNode answer = JsonNodeFactory.instance.objectNode();
        answer.set("migrations", all);
        answers.last(answer);
      }
      case "status" -> answers.last(find(request).status());
      case "follow" -> follow(find(request), answers);
      case "cancel" -> {
        Migration migration = underWay(request);
        var _ =
            migration
                .cancelAndTell()
                .thenAccept(
                    obstacle ->
                        obstacle.ifPresentOrElse(
                            why ->
                                answers.refuse(
                                    new Refusal(why, "its state is shown by the status command")),
                            answers::done));
      }
      default -> {
        return false;
      }
    }
    return true;
  }

  /** Tells how the migration of a machine goes on, until it ends. */
  public void follow(Subject subject, Answers answers) {
    Entry entry = entries.get(subject.socket());
    if (entry != null) {
      follow(entry, answers);
    }
  }

  private void follow(Entry entry, Answers answers) {
    if (entry.outcome != null) {
      answers.last(entry.status());
      return;
    }
    entry.followers.add(answers);
    tell(entry, answers);
  }

  private void tell(Entry entry, Answers follower) {
    if (follower.isGone()) {
      entry.followers.remove(follower);
    } else if (entry.outcome == null) {
      follower.send(entry.status());
      var _ = loop.schedule(() -> tell(entry, follower), FOLLOW_MILLIS, TimeUnit.MILLISECONDS);
    }
  }

  /**
   * The migration that a request is about.
   *
   * @throws Refusal where none is under way
   */
  public Migration underWay(JsonNode request) {
    Entry entry = find(request);
    Migration migration = entry.migration;
    if (migration == null) {
      throw new Refusal(
          "the migration of %s has ended: %s"
              .formatted(entry.subject.vm(), entry.status().at("/report/status").asString("")),
          "its report is shown by the status command");
    }
    return migration;
  }

  private Entry find(JsonNode request) {
    String vm = request.path("vm").asString("");
    List<Entry> found =
        entries.values().stream()
            .filter(
                entry ->
                    entry.subject.vm().equals(vm)
                        || (vm.indexOf('/') >= 0
                            && entry.subject.socket().equals(Path.of(vm).normalize())))
            .toList();
    if (found.isEmpty()) {
      throw new Refusal(
          "no migration of '%s' is known here".formatted(vm), "list shows those that are");
    }
    List<Entry> underWay = found.stream().filter(entry -> entry.outcome == null).toList();
    if (underWay.size() > 1) {
      throw new Refusal(
          "%d machines that are called '%s' are on their way".formatted(underWay.size(), vm),
          "name the socket instead: "
              + String.join(
                  " or ",
                  underWay.stream().map(entry -> entry.subject.socket().toString()).toList()));
    }
    return underWay.isEmpty() ? found.getLast() : underWay.getFirst();
  }

  /**
   * Ends what can be ended with the guest at the source, and returns when nothing is under way but
   * what goes on at the next start by its journal. Not for the loop.
   *
   * @param patience how long to wait for it
   */
  public void settle(Duration patience) {
    serviceManager.stopping();
    long deadline = System.nanoTime() + patience.toNanos();
    loop.submit(() -> cancellable().forEach(Migration::cancel)).syncUninterruptibly();
    try {
      while (!loop.submit(this::cancellable).syncUninterruptibly().getNow().isEmpty()
          && System.nanoTime() < deadline) {
        Thread.sleep(SETTLE_MILLIS);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private List<Migration> cancellable() {
    return entries.values().stream()
        .flatMap(entry -> Stream.ofNullable(entry.migration))
        .filter(migration -> migration.obstacleToCancel().isEmpty())
        .toList();
  }

  private static final class Entry {

    private final Subject subject;

    /** Null when it has ended: it holds what it knew of every page, and this entry may stay. */
    private volatile @Nullable Migration migration;

    private volatile MigrationProgress lastProgress;
    private final MigrationMeter meter = new MigrationMeter(System.nanoTime());
    private final List<Answers> followers = new ArrayList<>();
    private @Nullable Outcome outcome;

    Entry(Subject subject, Migration migration) {
      this.subject = subject;
      this.migration = migration;
      this.lastProgress = migration.progress();
    }

    MigrationProgress progress() {
      Migration current = migration;
      if (current != null) {
        lastProgress = current.progress();
      }
      return lastProgress;
    }

    void end(Outcome ended) {
      sample();
      outcome = ended;
      migration = null;
    }

    /** What is logged in {@code step} is about this migration. */
    void during(Runnable step) {
      LogFields.during(subject.vm(), subject.peer(), progress().phase(), step);
    }

    void sample() {
      meter.sample(progress(), System.nanoTime());
    }

    ObjectNode status() {
      if (outcome == null) {
        sample();
      }
      ObjectNode json =
          JsonNodeFactory.instance
              .objectNode()
              .put("vm", subject.vm())
              .put("socket", subject.socket().toString())
              .put("peer", subject.peer());
      json.setAll(meter.toJson());
      return outcome == null ? json.put("ended", false) : json.setAll(outcome.toNode());
    }

    /** For a line with others. */
    String summary() {
      long all = progress().allPages();
      return all == 0
          ? subject.vm()
          : "%s %d %%".formatted(subject.vm(), 100L * progress().donePages() / all);
    }
  }
}
