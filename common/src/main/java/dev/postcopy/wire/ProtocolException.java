package dev.postcopy.wire;

import org.jspecify.annotations.Nullable;

/** The peer broke the protocol; its connection is closed and the message names the cause. */
public final class ProtocolException extends RuntimeException {

  private static final long serialVersionUID = 1L;

  public ProtocolException(@Nullable String message) {
    super(message);
  }
}
