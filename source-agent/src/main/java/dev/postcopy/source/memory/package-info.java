/** The guest's RAM at the source: where content is, and the content. */
@NullMarked
package dev.postcopy.source.memory;

import org.jspecify.annotations.NullMarked;
