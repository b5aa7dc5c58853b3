/** What the commands of both agents have in common: exit codes, refusals, logging. */
@NullMarked
package dev.postcopy.cli;

import org.jspecify.annotations.NullMarked;
