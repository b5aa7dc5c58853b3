/** Guest memory as both agents see it: blocks, pages, and a bit for each page. */
@NullMarked
package dev.postcopy.memory;

import org.jspecify.annotations.NullMarked;
