package dev.postcopy.source.session;

/** Told now and then how far a migration has come, on the session's thread. */
@FunctionalInterface
public interface ProgressListener {

  /**
   * @param donePages pages sent or known to be zero
   * @param allPages pages of the guest
   * @param bytesSent on all connections
   */
  void onProgress(SourcePhase phase, int donePages, int allPages, long bytesSent);
}
