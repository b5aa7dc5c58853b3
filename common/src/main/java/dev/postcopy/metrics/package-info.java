/** What a migration cost: counters, latencies and the report. */
@NullMarked
package dev.postcopy.metrics;

import org.jspecify.annotations.NullMarked;
