/** The command line of the source agent. */
@NullMarked
package dev.postcopy.source.cli;

import org.jspecify.annotations.NullMarked;
