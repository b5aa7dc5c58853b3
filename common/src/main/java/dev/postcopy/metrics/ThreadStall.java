package dev.postcopy.metrics;

/**
 * How long a thread of QEMU's waited for missing pages.
 *
 * @param threadId as this process's pid namespace numbers it; 0 for those that did not fit
 * @param name a vCPU's, or empty
 * @param faults how often it waited
 * @param totalMicros for how long in all
 * @param longestMicros for how long at the most
 */
public record ThreadStall(
    int threadId, String name, long faults, long totalMicros, long longestMicros) {}
