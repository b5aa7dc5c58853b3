/** The way of the log into systemd's journal. */
@NullMarked
package dev.postcopy.logging;

import org.jspecify.annotations.NullMarked;
