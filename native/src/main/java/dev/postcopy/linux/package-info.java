/** Linux system calls: the raw ABI and the semantic classes on top of it. */
@NullMarked
package dev.postcopy.linux;

import org.jspecify.annotations.NullMarked;
