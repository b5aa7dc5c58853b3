/** TLS 1.3 between the agents: certificates on both sides, and who may send which VM. */
@NullMarked
package dev.postcopy.transport.tls;

import org.jspecify.annotations.NullMarked;
