package dev.postcopy.qmp;

import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/**
 * How QEMU's own migration must be set so that its stream carries devices only and at full speed,
 * and how it was set before. Whoever migrates this guest next may be QEMU itself, which with these
 * settings would leave the RAM out.
 */
public final class MigrationSettings {

  private static final String IGNORE_SHARED = "x-ignore-shared";
  private static final String EVENTS = "events";

  private static final String PAUSE_BEFORE_SWITCHOVER = "pause-before-switchover";

  /** The state in which QEMU waits where it was told to {@link #pauseBeforeSwitchover}. */
  public static final String PRE_SWITCHOVER = "pre-switchover";

  /** The state in which QEMU writes the device state. */
  public static final String DEVICE = "device";

  /** The state of a migration that is cancelled and has not ended. */
  public static final String CANCELLING = "cancelling";

  private static final Set<String> WANTED = Set.of(IGNORE_SHARED, EVENTS);
  private static final Set<String> SET = Set.of(IGNORE_SHARED, EVENTS, PAUSE_BEFORE_SWITCHOVER);

  /** The stream is small and the guest waits for it; QEMU's default of 128 MiB/s would be felt. */
  private static final long UNLIMITED = 1L << 40;

  private final Qemu qemu;
  private final QemuSettings before;

  private MigrationSettings(Qemu qemu, QemuSettings before) {
    this.qemu = qemu;
    this.before = before;
  }

  /** Looks how a QEMU is set; nothing is changed. */
  public static MigrationSettings of(Qemu qemu) {
    return new MigrationSettings(
        qemu,
        new QemuSettings(
            qemu.enabledCapabilities(), qemu.maxBandwidth(), qemu.leavesDescriptionOut()));
  }

  /** Those of a QEMU that was set as in {@code before} when {@link #apply} was called. */
  public static MigrationSettings of(Qemu qemu, QemuSettings before) {
    return new MigrationSettings(qemu, before);
  }

  /**
   * Sets what is needed, and everything else off. Two QEMUs must agree about the description: one
   * that is not written and waited for is complained of (QEMU: qemu_loadvm_state).
   */
  public void apply() {
    qemu.setCapabilities(change(before.capabilities(), WANTED));
    qemu.setMaxBandwidth(UNLIMITED);
    qemu.leaveDescriptionOut(true);
  }

  /**
   * Between the guest's stop and its device state QEMU shall wait to be told to go on. It takes a
   * millisecond for that by itself (QEMU: migration_switchover_prepare).
   */
  public void pauseBeforeSwitchover() {
    qemu.setCapabilities(Map.of(PAUSE_BEFORE_SWITCHOVER, true));
  }

  /** How it was. */
  public QemuSettings before() {
    return before;
  }

  /** Sets everything as it was. */
  public void restore() {
    qemu.setCapabilities(change(SET, before.capabilities()));
    qemu.setMaxBandwidth(before.maxBandwidth());
    qemu.leaveDescriptionOut(before.undescribed());
  }

  private static Map<String, Boolean> change(Set<String> from, Set<String> to) {
    Map<String, Boolean> states = new TreeMap<>();
    from.forEach(name -> states.put(name, false));
    to.forEach(name -> states.put(name, true));
    return states;
  }
}
