package dev.postcopy.it;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Closes what tests left open when the JVM ends early, so that no QEMU process and no file in
 * /dev/shm survives an interrupted run.
 */
final class Cleanup {

  private static final Set<AutoCloseable> OPEN = ConcurrentHashMap.newKeySet();

  static {
    Runtime.getRuntime().addShutdownHook(new Thread(Cleanup::closeAll, "cleanup"));
  }

  private Cleanup() {}

  static void register(AutoCloseable resource) {
    OPEN.add(resource);
  }

  static void unregister(AutoCloseable resource) {
    OPEN.remove(resource);
  }

  private static void closeAll() {
    for (AutoCloseable resource : OPEN) {
      try {
        resource.close();
      } catch (Exception e) {
        // The JVM is going down; the rest is still to be closed.
        System.err.println("closing " + resource + ": " + e);
      }
    }
  }
}
