package dev.postcopy.journal;

import dev.postcopy.qmp.QemuSettings;
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
 * @param undescribed whether QEMU's migration streams were without a description before
 * @param maxBulkBytesPerSecond what bulk may use of the link; Long.MAX_VALUE: all
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
    long maxBandwidth,
    boolean undescribed,
    long maxBulkBytesPerSecond) {

  /** An agent of a version that did not keep the limit has left none: all of the link, then. */
  public SourceEntry {
    if (maxBulkBytesPerSecond == 0) {
      maxBulkBytesPerSecond = Long.MAX_VALUE;
    }
  }

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

  /** How QEMU was set before. */
  public QemuSettings settings() {
    return new QemuSettings(capabilities, maxBandwidth, undescribed);
  }

  public SourceEntry in(State next) {
    return with(next, attempt, run, maxBulkBytesPerSecond);
  }

  /** The same with a guest that does, or does not, run. */
  public SourceEntry running(boolean running) {
    return with(state, attempt, running, maxBulkBytesPerSecond);
  }

  public SourceEntry withAttempt(int next) {
    return with(state, next, run, maxBulkBytesPerSecond);
  }

  public SourceEntry limitedTo(long bulkBytesPerSecond) {
    return with(state, attempt, run, bulkBytesPerSecond);
  }

  private SourceEntry with(State next, int nextAttempt, boolean running, long bulkBytesPerSecond) {
    return new SourceEntry(
        session,
        next,
        nextAttempt,
        vm,
        vmName,
        destination,
        running,
        capabilities,
        maxBandwidth,
        undescribed,
        bulkBytesPerSecond);
  }
}
