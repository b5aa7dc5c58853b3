/** From a page on the wire to a woken thread: what is known of each page, receiving, placing. */
@NullMarked
package dev.postcopy.dest.page;

import org.jspecify.annotations.NullMarked;
