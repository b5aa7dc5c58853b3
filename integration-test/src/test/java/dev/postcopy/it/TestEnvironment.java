package dev.postcopy.it;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/**
 * What the tests run on: QEMU builds, guests, KVM. The artefacts are fetched and built by {@code
 * scripts/fetch}, once per JVM.
 */
final class TestEnvironment {

  /** The user that unprivileged QEMU processes run as: nobody, on every distribution. */
  static final int UNPRIVILEGED_UID = 65534;

  /** Begins the names of all files that a run makes; scripts/test removes what is left of them. */
  static final String FILE_PREFIX =
      "pc-"
          + Optional.ofNullable(System.getenv("POSTCOPY_TEST_RUN"))
              .map(run -> run + "-")
              .orElse("");

  private static final String SKIP = "skip.qemu.";
  private static final String MISSING = "missing.qemu.";
  private static final String QEMU = "qemu.";

  private final Path root;
  private final Map<String, String> artefacts;

  private TestEnvironment(Path root, Map<String, String> artefacts) {
    this.root = root;
    this.artefacts = artefacts;
  }

  private static final class Holder {
    static final TestEnvironment INSTANCE = fetch();
  }

  static TestEnvironment get() {
    return Holder.INSTANCE;
  }

  private static TestEnvironment fetch() {
    Path root = Path.of("").toAbsolutePath();
    while (!Files.isExecutable(root.resolve("scripts/fetch"))) {
      Path parent = root.getParent();
      if (parent == null) {
        throw new IllegalStateException(
            "scripts/fetch is in no folder above the working directory");
      }
      root = parent;
    }
    Map<String, String> artefacts = new TreeMap<>();
    for (String line : run(root, 900, root.resolve("scripts/fetch").toString())) {
      int equals = line.indexOf('=');
      if (equals > 0) {
        artefacts.put(line.substring(0, equals), line.substring(equals + 1));
      }
    }
    return new TestEnvironment(root, artefacts);
  }

  /** Runs a command that must succeed; its errors go to this JVM's. */
  static List<String> run(Path folder, int timeoutS, String... command) {
    try {
      Process process =
          new ProcessBuilder(command)
              .directory(folder.toFile())
              .redirectError(ProcessBuilder.Redirect.INHERIT)
              .start();
      process.getOutputStream().close();
      String output = new String(process.getInputStream().readAllBytes(), UTF_8);
      if (!process.waitFor(timeoutS, TimeUnit.SECONDS)) {
        process.destroyForcibly();
        throw new IllegalStateException(
            String.join(" ", command) + " took over " + timeoutS + " s");
      }
      if (process.exitValue() != 0) {
        throw new IllegalStateException(
            String.join(" ", command) + " failed with " + process.exitValue() + ": " + output);
      }
      return output.lines().toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
    }
  }

  Path root() {
    return root;
  }

  /**
   * The names of all QEMU builds, there or not: for {@code @MethodSource}, so that a missing one is
   * a named skip.
   */
  static Stream<String> qemuVersions() {
    return get().artefacts.keySet().stream()
        .map(key -> key.replaceFirst("^(skip|missing)\\.", ""))
        .filter(key -> key.startsWith(QEMU))
        .map(key -> key.substring(QEMU.length()))
        // The distribution's own first: where only one is there, it is that one.
        .sorted((a, b) -> a.equals("installed") ? -1 : b.equals("installed") ? 1 : a.compareTo(b));
  }

  /** The executable of a QEMU build; skips the test where it is not there. */
  Path requireQemu(String version) {
    String skip = artefacts.get(SKIP + version);
    if (skip != null) {
      Requirement.impossible(skip);
    }
    String missing = artefacts.get(MISSING + version);
    if (missing != null) {
      Requirement.missing(missing);
    }
    return artefact(QEMU + version);
  }

  void requireKvm() {
    if (!Files.isWritable(Path.of("/dev/kvm"))) {
      Requirement.impossible("KVM: /dev/kvm is not there or not writable");
    }
  }

  void requireUnprivilegedKvm() {
    requireKvm();
    if (!openUnprivileged("-w", "/dev/kvm")) {
      Requirement.impossible("KVM without privileges: /dev/kvm is for root alone");
    }
  }

  /** For attaching to QEMU: ptrace and pidfd_getfd across users, /dev/userfaultfd. */
  void requireRoot() {
    if (!isRoot()) {
      Requirement.missing("root, which ptrace of another user's QEMU and /dev/userfaultfd need");
    }
  }

  private static boolean isRoot() {
    return System.getProperty("user.name", "").equals("root");
  }

  /** For a QEMU of another user: setpriv, and artefacts that this user can read. */
  void requireUnprivilegedUser() {
    requireRoot();
    List<String> unreadable =
        Stream.of("kernel", "initramfs", "boot-sector")
            .map(this::artefact)
            .map(Path::toString)
            .filter(file -> !openUnprivileged("-r", file))
            .toList();
    if (!unreadable.isEmpty()) {
      Requirement.missing(
          "files that uid "
              + UNPRIVILEGED_UID
              + " can read; give others access to the folders of "
              + unreadable);
    }
  }

  private static boolean openUnprivileged(String access, String file) {
    try {
      String uid = Integer.toString(UNPRIVILEGED_UID);
      return new ProcessBuilder(
                  "setpriv",
                  "--reuid=" + uid,
                  "--regid=" + uid,
                  "--clear-groups",
                  "--",
                  "test",
                  access,
                  file)
              .start()
              .waitFor()
          == 0;
    } catch (IOException e) {
      throw new IllegalStateException("setpriv is not there; install util-linux", e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
    }
  }

  Path kernel() {
    return artefact("kernel");
  }

  Path initramfs() {
    return artefact("initramfs");
  }

  Path bootSector() {
    return artefact("boot-sector");
  }

  private Path artefact(String key) {
    String file = artefacts.get(key);
    if (file == null) {
      throw new IllegalStateException(
          "scripts/fetch names no " + key + ", only " + new HashMap<>(artefacts));
    }
    return Path.of(file);
  }

  /**
   * A new folder for sockets and logs, open to all users: paths of sockets must stay below 108
   * characters.
   */
  static Path newFolder(String name) {
    try {
      Path folder = Files.createTempDirectory(FILE_PREFIX + name + "-");
      Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString("rwxrwxrwx"));
      return folder;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static void deleteFolder(Path folder) {
    try (Stream<Path> files = Files.walk(folder)) {
      for (Path file : files.sorted((a, b) -> b.compareTo(a)).toList()) {
        Files.deleteIfExists(file);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
