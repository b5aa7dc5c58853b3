package dev.postcopy.dest.session;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.journal.DestinationEntry;
import dev.postcopy.journal.VmIdentity;
import dev.postcopy.linux.HostRefusal;
import dev.postcopy.linux.ProcessStart;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.qmp.MemoryBackend;
import dev.postcopy.transport.EventLoops;
import io.netty.channel.IoEventLoopGroup;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class DestinationVmTest {

  private static final int PID = (int) ProcessHandle.current().pid();

  private final IoEventLoopGroup loop = EventLoops.named("vm", 1);

  @AfterEach
  void shutDown() {
    EventLoops.shutDown(loop);
  }

  /** The handles on processes that this one has open. */
  private static long processHandles() throws IOException {
    long count = 0;
    try (DirectoryStream<Path> descriptors = Files.newDirectoryStream(Path.of("/proc/self/fd"))) {
      for (Path descriptor : descriptors) {
        try {
          count += Files.readSymbolicLink(descriptor).toString().contains("pidfd") ? 1 : 0;
        } catch (NoSuchFileException e) {
          // Closed since the folder was read.
        }
      }
    }
    return count;
  }

  /** An agent that serves goes on, and would have one more open with each such journal. */
  @Test
  void aQemuWithoutTheRamOfItsJournalLeavesNothingOpen() throws IOException {
    MemoryBackend unmapped =
        new MemoryBackend(
            "ram0", RamLayout.PAGE_BYTES, "memory-backend-file", "/dev/shm/none", true, false);
    DestinationEntry entry =
        new DestinationEntry(
            UUID.randomUUID(),
            DestinationEntry.State.RUNNING,
            0,
            new VmIdentity(PID, ProcessStart.ticks(PID), "/run/vm.qmp", List.of(unmapped)),
            7,
            true,
            null);
    long before = processHandles();

    assertThatThrownBy(() -> DestinationVm.find(loop, entry, new ConcurrentLinkedQueue<>()))
        .isInstanceOf(HostRefusal.class);

    assertThat(processHandles()).isLessThanOrEqualTo(before);
  }
}
