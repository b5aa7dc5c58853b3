/** Memory that goes ahead of the guest: which pages are written to, and when it is enough. */
@NullMarked
package dev.postcopy.source.precopy;

import org.jspecify.annotations.NullMarked;
