package dev.postcopy.it;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A few huge pages and a hugetlbfs to use them by; all of it goes when this is closed. */
final class HugePages implements AutoCloseable {

  private static final Path POOL = Path.of("/proc/sys/vm/nr_hugepages");
  private static final Pattern FREE = Pattern.compile("HugePages_Free:\\s+(\\d+)");
  private static final int PAGE_MIB = 2;

  private final Path folder;
  private final int pages;

  private HugePages(Path folder, int pages) {
    this.folder = folder;
    this.pages = pages;
  }

  /** Adds to the host's pool; skips the test where it cannot. */
  static HugePages reserve(int mib) throws IOException {
    TestEnvironment.get().requireRoot();
    int pages = mib / PAGE_MIB;
    if (!Files.isWritable(POOL)) {
      Requirement.impossible("huge pages: this kernel has no " + POOL);
    }
    addToPool(pages);
    Path folder = TestEnvironment.newFolder("huge");
    HugePages reserved = new HugePages(folder, pages);
    try {
      Matcher free = FREE.matcher(Files.readString(Path.of("/proc/meminfo")));
      if (!free.find() || Integer.parseInt(free.group(1)) < pages) {
        Requirement.impossible(pages + " huge pages: the host's memory is too fragmented");
      }
      TestEnvironment.run(
          folder, 10, "mount", "-t", "hugetlbfs", "-o", "mode=0777", "none", folder.toString());
      return reserved;
    } catch (Throwable e) {
      Files.delete(folder);
      addToPool(-pages);
      throw e;
    }
  }

  private static void addToPool(int pages) throws IOException {
    // Others may change the pool meanwhile.
    int now = Integer.parseInt(Files.readString(POOL).strip());
    Files.writeString(POOL, Integer.toString(Math.max(0, now + pages)));
  }

  Path folder() {
    return folder;
  }

  @Override
  public void close() throws IOException {
    TestEnvironment.run(Path.of("/"), 10, "umount", folder.toString());
    Files.delete(folder);
    addToPool(-pages);
  }
}
