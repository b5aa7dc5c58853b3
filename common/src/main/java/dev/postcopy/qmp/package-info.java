/** QEMU's machine protocol: a client, and what the agents ask of a QEMU. */
@NullMarked
package dev.postcopy.qmp;

import org.jspecify.annotations.NullMarked;
