/**
 * From a request to a page on the wire: answering requests, pushing the rest, claiming each page.
 */
@NullMarked
package dev.postcopy.source.page;

import org.jspecify.annotations.NullMarked;
