/** What both agents need to serve many migrations for as long as their host runs. */
@NullMarked
package dev.postcopy.daemon;

import org.jspecify.annotations.NullMarked;
