package dev.postcopy.metrics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(value = 60, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class WholeFileTest {

  @TempDir private Path folder;

  private Path file() {
    return folder.resolve("report.html");
  }

  private static byte[] all(int value) {
    byte[] content = new byte[256 << 10];
    Arrays.fill(content, (byte) value);
    return content;
  }

  /** Two migrations may be told to write about themselves to the same file. */
  @Test
  void ofManyThatWriteAtATimeOneIsThereAsAWhole() throws Exception {
    try (ExecutorService writers = Executors.newFixedThreadPool(4)) {
      List<Future<?>> written = new ArrayList<>();
      for (int i = 0; i < 200; i++) {
        byte[] content = all(i);
        written.add(
            writers.submit(
                () -> {
                  WholeFile.write(file(), content);
                  return null;
                }));
      }
      for (Future<?> one : written) {
        one.get();
      }
    }

    byte[] read = Files.readAllBytes(file());
    assertThat(read).isEqualTo(all(read[0]));
    try (var files = Files.list(folder)) {
      assertThat(files).containsExactly(file());
    }
  }

  @Test
  void whatCannotBeWrittenLeavesNothingBehind() throws IOException {
    // Nothing that is not empty is replaced.
    Files.createDirectories(file().resolve("in the way"));

    assertThatThrownBy(() -> WholeFile.write(file(), all(1))).isInstanceOf(IOException.class);

    try (var files = Files.list(folder)) {
      assertThat(files).containsExactly(file());
    }
  }
}
