/** The command line of the destination agent. */
@NullMarked
package dev.postcopy.dest.cli;

import org.jspecify.annotations.NullMarked;
