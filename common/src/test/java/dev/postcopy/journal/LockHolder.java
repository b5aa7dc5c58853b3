package dev.postcopy.journal;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Path;

/** A process that holds a lock until it is killed, as an agent at work does. */
final class LockHolder {

  private LockHolder() {}

  static Process start(Path lock) throws IOException {
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-cp",
                System.getProperty("java.class.path"),
                LockHolder.class.getName(),
                lock.toString())
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    if (process.getInputStream().read() != 'h') {
      throw new IllegalStateException("the lock is not held");
    }
    return process;
  }

  static void main(String[] arguments) throws IOException, InterruptedException {
    try (FileChannel lock = Litter.lock(Path.of(arguments[0]))) {
      if (lock == null) {
        throw new IllegalStateException("somebody else holds " + arguments[0]);
      }
      System.out.print("h");
      System.out.flush();
      Thread.sleep(Long.MAX_VALUE);
    }
  }
}
