package dev.postcopy.journal;

import java.util.Set;
import java.util.UUID;

/**
 * A migration as its source has to know it after a crash.
 *
 * @param attempt of the newest pair of connections
 * @param vmName by which the destination knows the guest; empty where it needs none
 * @param destination where the destination agent listens, HOST:PORT
 * @param run whether the guest ran before
 * @param capabilities QEMU's migration capabilities as they were before
 * @param maxBandwidth QEMU's own migration limit as it was before, in bytes a second
 */
public record SourceEntry(
    UUID session,
    State state,
    int attempt,
    VmIdentity vm,
    String vmName,
    String destination,
    boolean run,
    Set<String> capabilities,
    long maxBandwidth) {

  /** The ending of the files. */
  public static final String KIND = "source";

  /** What is true from the moment when it is written. */
  public enum State {
    /** The guest runs here, watched, and QEMU's settings are those of a migration. */
    PRECOPYING,
    /** The guest may be stopped; it belongs here. */
    SWITCHING_OVER,
    /** The guest belongs to the destination: it never runs here again. */
    COMMITTED,
    /** The guest belongs here; the destination may not know. */
    ABORTED
  }

  public SourceEntry in(State next) {
    return new SourceEntry(
        session, next, attempt, vm, vmName, destination, run, capabilities, maxBandwidth);
  }

  /** The same with a guest that does, or does not, run. */
  public SourceEntry running(boolean running) {
    return new SourceEntry(
        session, state, attempt, vm, vmName, destination, running, capabilities, maxBandwidth);
  }

  public SourceEntry withAttempt(int next) {
    return new SourceEntry(
        session, state, next, vm, vmName, destination, run, capabilities, maxBandwidth);
  }
}
