package dev.postcopy.metrics;

import java.util.Locale;

/** Where the time of a fault goes, in the order in which it does; {@link #TOTAL} is their sum. */
public enum FaultStage {
  /** From reading the fault's message to handing the request to the socket. */
  QUEUE,
  /** From there until the page's frame is here. */
  WIRE,
  /** UFFDIO_COPY. */
  PLACE,
  /** Publishing the page and UFFDIO_WAKE. */
  WAKE,
  /** From reading the message to the end of the wake. */
  TOTAL;

  /** As labels and keys have it. */
  public String label() {
    return name().toLowerCase(Locale.ROOT);
  }
}
