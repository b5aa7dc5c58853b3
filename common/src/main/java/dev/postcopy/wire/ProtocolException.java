package dev.postcopy.wire;

/** The peer broke the protocol; its connection is closed and the message names the cause. */
public final class ProtocolException extends RuntimeException {

  private static final long serialVersionUID = 1L;

  public ProtocolException(String message) {
    super(message);
  }
}
