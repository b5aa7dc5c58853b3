/**
 * The raw Linux layer for x86-64: struct layouts, numbers and downcalls under the kernel's own
 * names. A call returns what the kernel returned, or {@code -errno}; nothing here throws for a
 * failed call and nothing decides what a failure means.
 */
@NullMarked
package dev.postcopy.linux.abi;

import org.jspecify.annotations.NullMarked;
