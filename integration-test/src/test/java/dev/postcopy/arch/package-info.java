/** The rules of design.md on who may know whom, checked against the compiled classes. */
@NullMarked
package dev.postcopy.arch;

import org.jspecify.annotations.NullMarked;
