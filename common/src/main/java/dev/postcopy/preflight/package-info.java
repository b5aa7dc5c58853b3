/** What has to hold before a guest moves: looked at one by one, and told as a list. */
@NullMarked
package dev.postcopy.preflight;

import org.jspecify.annotations.NullMarked;
