/**
 * The frames that the agents exchange, and their codec. The bytes are drawn in docs/protocol.md.
 */
@NullMarked
package dev.postcopy.wire;

import org.jspecify.annotations.NullMarked;
