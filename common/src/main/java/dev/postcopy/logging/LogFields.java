package dev.postcopy.logging;

import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What the lines that a thread logs are about; {@link JournalEntry} makes fields of it. All threads
 * of a migration share it, so that what its event loops log has the phase that its session is in.
 */
public final class LogFields {

  private static final ThreadLocal<@Nullable LogFields> CURRENT = new ThreadLocal<>();

  private final String vm;
  private final String peer;
  private volatile String phase;

  private LogFields(String vm, String peer, String phase) {
    this.vm = vm;
    this.peer = peer;
    this.phase = phase;
  }

  /**
   * Runs a step of a migration.
   *
   * @param vm the machine's name
   * @param peer the other host
   * @param phase in which the step begins, as the agent calls it
   */
  public static void during(String vm, String peer, String phase, Runnable step) {
    run(new LogFields(vm, peer, phase), step);
  }

  /** The migration of this thread is in another phase from now on. */
  public static void enter(String phase) {
    LogFields current = CURRENT.get();
    if (current != null) {
      current.phase = phase;
    }
  }

  /** What a thread runs that the migration of this one starts: it belongs to it, too. */
  public static Runnable carriedTo(Runnable thread) {
    LogFields current = CURRENT.get();
    return current == null ? thread : () -> run(current, thread);
  }

  private static void run(LogFields fields, Runnable step) {
    LogFields before = CURRENT.get();
    CURRENT.set(fields);
    try {
      step.run();
    } finally {
      CURRENT.set(before);
    }
  }

  /** By their names in the journal; none where this thread is not of a migration. */
  public static Map<String, String> current() {
    LogFields current = CURRENT.get();
    return current == null
        ? Map.of()
        : Map.of(
            "VM",
            current.vm,
            "PEER",
            current.peer,
            "PHASE",
            // As the status of a migration has it.
            current.phase.toLowerCase(Locale.ROOT));
  }
}
