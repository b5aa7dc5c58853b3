package dev.postcopy.metrics;

import java.util.function.Supplier;

/**
 * What a migration shows while it is under way; any thread may look.
 *
 * @param side whose view it is: "source" or "destination"
 * @param vm how operators call the guest
 * @param now how far it has come
 * @param faults how long faults took; nothing is recorded at the source
 */
public record MigrationView(
    String side, String vm, PhaseLog phases, Supplier<MigrationProgress> now, FaultTimes faults) {}
