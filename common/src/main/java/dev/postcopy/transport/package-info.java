/** Connections between the agents: event loops and channels. */
@NullMarked
package dev.postcopy.transport;

import org.jspecify.annotations.NullMarked;
