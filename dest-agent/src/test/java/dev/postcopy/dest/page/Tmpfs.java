package dev.postcopy.dest.page;

import java.io.IOException;
import java.nio.file.Path;

/** A tmpfs of its own, small enough to be full. */
public final class Tmpfs implements AutoCloseable {

  private final Path directory;

  private Tmpfs(Path directory) {
    this.directory = directory;
  }

  /** Mounts one on an empty directory; for root. */
  public static Tmpfs mount(Path directory, long byteLength) throws IOException {
    run("mount", "-t", "tmpfs", "-o", "size=" + byteLength, "tmpfs", directory.toString());
    return new Tmpfs(directory);
  }

  public Path directory() {
    return directory;
  }

  @Override
  public void close() throws IOException {
    run("umount", "--lazy", directory.toString());
  }

  private static void run(String... command) throws IOException {
    Process process = new ProcessBuilder(command).inheritIO().start();
    try {
      if (process.waitFor() != 0) {
        throw new IOException(String.join(" ", command) + " failed");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
  }
}
