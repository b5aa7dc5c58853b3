package dev.postcopy.metrics;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** Records of migrations as JSON files, the newest of them; their names sort by time. */
final class RecordFolder {

  private static final int KEPT = 100;

  private final Path folder;

  RecordFolder(Path folder) {
    this.folder = folder;
  }

  synchronized void add(MigrationRecord record) throws IOException {
    Files.createDirectories(folder);
    WholeFile.write(folder.resolve(name(record)), record.toJson());
    prune();
  }

  private static String name(MigrationRecord record) {
    String vm = record.vm().replaceAll("[^A-Za-z0-9._-]", "_");
    return "%s-%s-%s.json".formatted(record.startedAt().replace(":", ""), record.side(), vm);
  }

  private void prune() throws IOException {
    List<Path> files;
    try (Stream<Path> all = Files.list(folder)) {
      files = all.filter(file -> file.toString().endsWith(".json")).sorted().toList();
    }
    for (Path old : files.subList(0, Math.max(0, files.size() - KEPT))) {
      Files.deleteIfExists(old);
    }
  }
}
