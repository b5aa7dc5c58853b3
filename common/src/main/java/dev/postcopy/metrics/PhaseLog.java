package dev.postcopy.metrics;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** When a migration came into each of its phases. Any thread may call. */
public final class PhaseLog {

  private final long startNanos = System.nanoTime();
  private final List<Phase> phases = new ArrayList<>();

  /**
   * @param name as the agent calls it
   * @param atMicros since the beginning of the migration
   */
  public record Phase(String name, long atMicros) {}

  /** The migration is in a phase from now on. */
  public synchronized void note(String name) {
    phases.add(new Phase(name, micros()));
  }

  /** Time since the beginning, in microseconds. */
  long micros() {
    return TimeUnit.NANOSECONDS.toMicros(System.nanoTime() - startNanos);
  }

  synchronized List<Phase> list() {
    return List.copyOf(phases);
  }

  /** The phase that it is in; empty before the first. */
  public synchronized String current() {
    return phases.isEmpty() ? "" : phases.getLast().name();
  }
}
