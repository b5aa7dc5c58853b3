package dev.postcopy.qmp;

/** QEMU answered a command with an error, answered nothing in time, or is gone. */
public final class QmpException extends RuntimeException {

  private static final long serialVersionUID = 1L;

  public QmpException(String message) {
    super(message);
  }
}
