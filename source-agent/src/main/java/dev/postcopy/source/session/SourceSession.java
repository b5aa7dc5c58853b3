package dev.postcopy.source.session;

import dev.postcopy.daemon.Migration;

/** A migration at the source, begun or taken up. */
public sealed interface SourceSession extends Migration permits MigrateSession, ResumeSession {

  /**
   * Changes what bulk may use of the link; from any thread.
   *
   * @param bytesPerSecond positive; Long.MAX_VALUE: all
   */
  void setMaxBandwidth(long bytesPerSecond);
}
