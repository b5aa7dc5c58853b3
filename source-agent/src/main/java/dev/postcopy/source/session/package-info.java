/** One migration as the source sees it: the conversation, the switch-over, the drain. */
@NullMarked
package dev.postcopy.source.session;

import org.jspecify.annotations.NullMarked;
