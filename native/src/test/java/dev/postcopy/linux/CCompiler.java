package dev.postcopy.linux;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** Compiles the C sources of the tests into {@code target/c}, each once per JVM. */
public final class CCompiler {
  private static final Path TARGET = Path.of("target", "c");
  private static final Map<String, Path> COMPILED = new ConcurrentHashMap<>();

  private CCompiler() {}

  /** The executable made from the test resource {@code c/NAME.c}. */
  public static Path compileResource(String name) {
    return COMPILED.computeIfAbsent(name, n -> compile(n, resource(n + ".c")));
  }

  /** The executable made from a source text. */
  static Path compile(String name, String source) {
    TestHost.require(TestHost.onPath("gcc"), "gcc, to compile " + name + ".c");
    try {
      Files.createDirectories(TARGET);
      // Two JVMs of one build may compile the same source: each has files of its own.
      Path directory = Files.createTempDirectory(TARGET, name + "-").toAbsolutePath();
      Path file = Files.writeString(directory.resolve(name + ".c"), source);
      Path executable = directory.resolve(name);
      run(
          List.of(
              "gcc",
              "-O2",
              "-Wall",
              "-Wextra",
              "-Werror",
              "-pthread",
              "-o",
              executable.toString(),
              file.toString()));
      return executable;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static String resource(String file) {
    try (InputStream in = CCompiler.class.getResourceAsStream("/c/" + file)) {
      if (in == null) {
        throw new IllegalStateException("no test resource c/" + file);
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Runs a program to its end and returns the lines it printed. */
  static List<String> run(List<String> command) throws IOException {
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    process.getOutputStream().close();
    List<String> lines = new ArrayList<>();
    try (var reader = process.inputReader(StandardCharsets.UTF_8)) {
      reader.lines().forEach(lines::add);
    }
    try {
      int status = process.waitFor();
      if (status != 0) {
        throw new IllegalStateException(
            "%s ended with %d:%n%s".formatted(command, status, String.join("\n", lines)));
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
    return lines;
  }
}
