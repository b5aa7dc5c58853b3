package dev.postcopy.qmp;

import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/**
 * How QEMU's own migration must be set so that its stream carries devices only and at full speed,
 * and how it was set before.
 */
public final class MigrationSettings {

  private static final String IGNORE_SHARED = "x-ignore-shared";
  private static final String EVENTS = "events";

  private static final String PAUSE_BEFORE_SWITCHOVER = "pause-before-switchover";

  /** The state in which QEMU waits where it was told to {@link #pauseBeforeSwitchover}. */
  public static final String PRE_SWITCHOVER = "pre-switchover";

  /** The state in which QEMU writes the device state. */
  public static final String DEVICE = "device";

  private static final Set<String> WANTED = Set.of(IGNORE_SHARED, EVENTS);
  private static final Set<String> SET = Set.of(IGNORE_SHARED, EVENTS, PAUSE_BEFORE_SWITCHOVER);

  /** The stream is small and the guest waits for it; QEMU's default of 128 MiB/s would be felt. */
  private static final long UNLIMITED = 1L << 40;

  private final Qemu qemu;
  private final Set<String> capabilitiesBefore;
  private final long maxBandwidthBefore;

  private MigrationSettings(Qemu qemu, Set<String> capabilitiesBefore, long maxBandwidthBefore) {
    this.qemu = qemu;
    this.capabilitiesBefore = capabilitiesBefore;
    this.maxBandwidthBefore = maxBandwidthBefore;
  }

  /** Sets what is needed, everything else off, and remembers how it was. */
  public static MigrationSettings apply(Qemu qemu) {
    MigrationSettings before =
        new MigrationSettings(qemu, qemu.enabledCapabilities(), qemu.maxBandwidth());
    qemu.setCapabilities(change(before.capabilitiesBefore, WANTED));
    qemu.setMaxBandwidth(UNLIMITED);
    return before;
  }

  /** The settings of a QEMU that {@link #apply} was called for by a process that is gone. */
  public static MigrationSettings ofBefore(Qemu qemu, Set<String> capabilities, long maxBandwidth) {
    return new MigrationSettings(qemu, capabilities, maxBandwidth);
  }

  /**
   * Between the guest's stop and its device state QEMU shall wait to be told to go on. It takes a
   * millisecond for that by itself (QEMU: migration_switchover_prepare).
   */
  public void pauseBeforeSwitchover() {
    qemu.setCapabilities(Map.of(PAUSE_BEFORE_SWITCHOVER, true));
  }

  /** The capabilities that were on before. */
  public Set<String> capabilitiesBefore() {
    return capabilitiesBefore;
  }

  /** The limit that was set before, in bytes a second. */
  public long maxBandwidthBefore() {
    return maxBandwidthBefore;
  }

  /** Sets everything as it was. */
  public void restore() {
    qemu.setCapabilities(change(SET, capabilitiesBefore));
    qemu.setMaxBandwidth(maxBandwidthBefore);
  }

  private static Map<String, Boolean> change(Set<String> from, Set<String> to) {
    Map<String, Boolean> states = new TreeMap<>();
    from.forEach(name -> states.put(name, false));
    to.forEach(name -> states.put(name, true));
    return states;
  }
}
