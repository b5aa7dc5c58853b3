package dev.postcopy.qmp;

import java.util.Set;

/**
 * What the agents change of how a QEMU migrates, as it was before.
 *
 * @param capabilities the migration capabilities that were on
 * @param maxBandwidth the limit of QEMU's own migration stream, in bytes a second
 * @param undescribed whether that stream ended without a description of itself
 */
public record QemuSettings(Set<String> capabilities, long maxBandwidth, boolean undescribed) {

  /** Those of a QEMU that nobody has changed (QEMU: migration/options.c, hw/core/machine.c). */
  public static final QemuSettings DEFAULTS = new QemuSettings(Set.of(), 128 << 20, false);
}
