package dev.postcopy.journal;

import dev.postcopy.qmp.QemuSettings;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/**
 * A migration as its destination has to know it after a crash.
 *
 * @param attempt of the newest pair of connections
 * @param userfaultfd its number in QEMU; -1 before it was made, and where it was let go of since
 * @param run whether the guest shall run here; known from COMMITTED on
 * @param settings how QEMU was set before; null in an entry of a version that did not keep that
 */
public record DestinationEntry(
    UUID session,
    State state,
    int attempt,
    VmIdentity vm,
    int userfaultfd,
    boolean run,
    @Nullable QemuSettings settings) {

  /** The ending of the files. */
  public static final String KIND = "destination";

  /** What is true from the moment when it is written. */
  public enum State {
    /** QEMU is being filled; the guest is at the source for certain. */
    LOADING,
    /** QEMU could run the guest; only the source knows whether it may. */
    LOADED,
    /** The guest belongs here; it may have to be set going still. */
    COMMITTED,
    /** The guest belongs here and was set going, where it shall run. */
    RUNNING,
    /** Every page is here; the source may not have heard it. */
    COMPLETED
  }

  public DestinationEntry in(State next) {
    return with(next, attempt, userfaultfd, run);
  }

  public DestinationEntry withUserfaultfd(int numberInQemu) {
    return with(state, attempt, numberInQemu, run);
  }

  /** QEMU's memory is QEMU's again. */
  public DestinationEntry letGo() {
    return withUserfaultfd(-1);
  }

  public DestinationEntry committed(boolean runHere) {
    return with(State.COMMITTED, attempt, userfaultfd, runHere);
  }

  public DestinationEntry withAttempt(int next) {
    return with(state, next, userfaultfd, run);
  }

  /** How QEMU was set before, as far as that is known. */
  public QemuSettings settingsBefore() {
    return settings == null ? QemuSettings.DEFAULTS : settings;
  }

  private DestinationEntry with(
      State next, int nextAttempt, int userfaultfdInQemu, boolean runHere) {
    return new DestinationEntry(
        session, next, nextAttempt, vm, userfaultfdInQemu, runHere, settings);
  }
}
