/** A word to a migration that is under way, from another process on the same host. */
@NullMarked
package dev.postcopy.control;

import org.jspecify.annotations.NullMarked;
