/** What the agents know of the JVM that runs them. */
@NullMarked
package dev.postcopy.jvm;

import org.jspecify.annotations.NullMarked;
