/** From a fault to a request: reading userfaultfd, asking the source. */
@NullMarked
package dev.postcopy.dest.fault;

import org.jspecify.annotations.NullMarked;
