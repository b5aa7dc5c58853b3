package dev.postcopy.source.session;

import dev.postcopy.metrics.MigrationProgress;

/** Told now and then how far a migration has come, on the session's thread. */
@FunctionalInterface
public interface ProgressListener {

  void onProgress(MigrationProgress progress);
}
