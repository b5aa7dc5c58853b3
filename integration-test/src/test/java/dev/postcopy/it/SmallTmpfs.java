package dev.postcopy.it;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** A tmpfs of its own that can be full; for root. It goes when this is closed. */
final class SmallTmpfs implements AutoCloseable {

  private static final Path ROOT = Path.of("/");
  private static final int PAGE_BYTES = 4096;

  private final Path folder;

  private SmallTmpfs(Path folder) {
    this.folder = folder;
  }

  static SmallTmpfs mount(int kibibytes) {
    TestEnvironment.get().requireRoot();
    Path folder = TestEnvironment.newFolder("small");
    TestEnvironment.run(
        ROOT, 10, "mount", "-t", "tmpfs", "-o", size(kibibytes), "none", folder.toString());
    SmallTmpfs mounted = new SmallTmpfs(folder);
    Cleanup.register(mounted);
    return mounted;
  }

  private static String size(int kibibytes) {
    return "size=" + kibibytes + "k,mode=0777";
  }

  Path folder() {
    return folder;
  }

  /** Gives it more room, or less. */
  void resize(int kibibytes) {
    TestEnvironment.run(ROOT, 10, "mount", "-o", "remount," + size(kibibytes), folder.toString());
  }

  /** Takes the last page of it. */
  void fill() {
    Path file = folder.resolve("filling");
    byte[] page = new byte[PAGE_BYTES];
    try (var out = Files.newOutputStream(file)) {
      while (true) {
        out.write(page);
      }
    } catch (IOException e) {
      if (!String.valueOf(e.getMessage()).contains("No space left")) {
        throw new UncheckedIOException(e);
      }
    }
  }

  @Override
  public void close() {
    Cleanup.unregister(this);
    TestEnvironment.run(ROOT, 10, "umount", "--lazy", folder.toString());
    try {
      Files.delete(folder);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
