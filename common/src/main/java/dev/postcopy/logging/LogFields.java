package dev.postcopy.logging;

import java.util.Locale;
import org.slf4j.MDC;

/** What the lines that a thread logs are about; {@link JournalEntry} makes fields of it. */
public final class LogFields {

  private static final String VM = "vm";
  private static final String PEER = "peer";
  private static final String PHASE = "phase";

  private LogFields() {}

  /**
   * Runs a step of a migration.
   *
   * @param vm the machine's name
   * @param peer the other host
   * @param phase in which the step begins, as the agent calls it
   */
  public static void during(String vm, String peer, String phase, Runnable step) {
    try (var _ = MDC.putCloseable(VM, vm);
        var _ = MDC.putCloseable(PEER, peer);
        var _ = MDC.putCloseable(PHASE, written(phase))) {
      step.run();
    }
  }

  /** The migration of this thread is in another phase from now on. */
  public static void enter(String phase) {
    MDC.put(PHASE, written(phase));
  }

  /** As the status of a migration has it. */
  private static String written(String phase) {
    return phase.toLowerCase(Locale.ROOT);
  }
}
