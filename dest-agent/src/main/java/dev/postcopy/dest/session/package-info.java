/** One migration as the destination sees it: the conversation, the commit, the drain. */
@NullMarked
package dev.postcopy.dest.session;

import org.jspecify.annotations.NullMarked;
