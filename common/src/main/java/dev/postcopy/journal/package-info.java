/** What an agent must know of its migrations when it comes back from a crash. */
@NullMarked
package dev.postcopy.journal;

import org.jspecify.annotations.NullMarked;
