package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

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

  /** Of the calling thread, 0 on a kernel that does not tell (before Linux 6.12). */
  private static long sliceNanos() {
    try {
      return Files.readAllLines(Path.of("/proc/thread-self/sched")).stream()
          .filter(line -> line.startsWith("se.slice "))
          .mapToLong(line -> Long.parseLong(line.substring(line.indexOf(':') + 1).strip()))
          .findFirst()
          .orElse(0);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Test
  void givesTheThreadThatAsksForItAShortSliceAndNoOther() throws Exception {
    long before = sliceNanos();
    assumeThat(before).as("a kernel that tells the slice").isPositive();
    CompletableFuture<Long> shortened = new CompletableFuture<>();

    Thread urgent =
        Thread.ofPlatform()
            .start(
                () -> {
                  ThreadPriority.raise();
                  shortened.complete(sliceNanos());
                });
    urgent.join();

    assertThat(shortened.join())
        .as("nanoseconds of a slice of a thread that a vCPU waits for")
        .isEqualTo(ThreadPriority.SHORT_SLICE_NANOS);
    assertThat(sliceNanos()).as("of the thread that started it").isEqualTo(before);
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
