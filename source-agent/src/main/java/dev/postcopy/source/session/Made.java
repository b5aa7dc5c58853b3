package dev.postcopy.source.session;

import org.jspecify.annotations.Nullable;

/** Carries what a connection's callback made back to the thread that connected. */
final class Made<T> {

  private volatile @Nullable T made;

  T keep(T value) {
    made = value;
    return value;
  }

  T get() {
    T value = made;
    if (value == null) {
      throw new IllegalStateException("connected, but nothing was made");
    }
    return value;
  }
}
