package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class ThreadPriorityTest {

  @BeforeEach
  void needsRoot() {
    TestHost.requireRoot();
  }

  /** Of the calling thread: proc_pid_stat(5), field 19; the second may have spaces in it. */
  private static int nice() {
    try {
      String stat = Files.readString(Path.of("/proc/thread-self/stat"));
      return Integer.parseInt(stat.substring(stat.lastIndexOf(')') + 2).split(" ", -1)[16]);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Test
  void raisesTheThreadThatAsksForItAndNoOther() throws Exception {
    int before = nice();
    CompletableFuture<Integer> raised = new CompletableFuture<>();

    Thread urgent =
        Thread.ofPlatform()
            .start(
                () -> {
                  int result = ThreadPriority.raise();
                  raised.complete(result == 0 ? nice() : result);
                });
    urgent.join();

    assertThat(raised.join())
        .as("nice value of a thread that a vCPU waits for")
        .isEqualTo(ThreadPriority.URGENT_NICE);
    assertThat(nice()).as("of the thread that started it").isEqualTo(before);
  }
}
