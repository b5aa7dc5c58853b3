/**
 * Tests with real QEMU processes and real guests; nothing is mocked. The harness starts QEMU the
 * way a management layer would, talks to the guest over its serial port and compares memory byte by
 * byte.
 */
@NullMarked
package dev.postcopy.it;

import org.jspecify.annotations.NullMarked;
