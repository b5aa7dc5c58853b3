/** Taking hold of the destination QEMU: its RAM, and a userfaultfd of its own address space. */
@NullMarked
package dev.postcopy.dest.attach;

import org.jspecify.annotations.NullMarked;
