package dev.postcopy.wire;

import java.io.IOException;

/** Why a connection has ended. */
public sealed interface CloseCause {

  /** The cause in one line, for an operator. */
  String text();

  /** The peer closed the connection, or this side did. */
  record Ended() implements CloseCause {
    @Override
    public String text() {
      return "the peer closed the connection";
    }
  }

  /** The network failed, or TLS, or the peer was silent for too long. */
  record Broken(IOException thrown) implements CloseCause {
    @Override
    public String text() {
      return "the connection broke: " + thrown.getMessage();
    }
  }

  /** The peer said what the protocol does not allow. */
  record Violation(String reason) implements CloseCause {
    @Override
    public String text() {
      return "protocol error: " + reason;
    }
  }

  /** This side could not deal with a frame, or with a task of the connection. */
  record Failure(Throwable thrown) implements CloseCause {
    @Override
    public String text() {
      return "internal error: " + thrown;
    }
  }
}
