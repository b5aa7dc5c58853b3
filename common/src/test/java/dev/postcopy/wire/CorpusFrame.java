package dev.postcopy.wire;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.Stream;

/**
 * What once came, or could, in {@code corpus/} beside this class: each file says in its first line
 * what becomes of the connection, and has the bytes behind it.
 *
 * @param ending what the reader's end of the connection is told, or "stays open"
 */
record CorpusFrame(String name, String ending, Bytes content) {

  byte[] bytes() {
    return content.toArray();
  }

  static List<CorpusFrame> all() {
    URL directory = CorpusFrame.class.getResource("corpus");
    if (directory == null) {
      throw new IllegalStateException("no corpus");
    }
    try (Stream<Path> files = Files.list(Path.of(directory.toURI()))) {
      return files.sorted().map(CorpusFrame::read).toList();
    } catch (IOException | URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  private static CorpusFrame read(Path file) {
    try {
      List<String> lines = Files.readAllLines(file);
      String hex = String.join("", lines.subList(1, lines.size()));
      Bytes content = new Bytes().raw(HexFormat.of().parseHex(hex));
      return new CorpusFrame(file.getFileName().toString(), lines.getFirst(), content);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public String toString() {
    return name;
  }
}
