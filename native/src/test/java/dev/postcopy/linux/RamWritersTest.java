package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.OptionalInt;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class RamWritersTest {

  private static final long LENGTH = 1 << 20;
  private static final int OURSELVES = (int) ProcessHandle.current().pid();

  private final Path path = Path.of("/dev/shm", "ram-writers-test-" + OURSELVES);
  private ScratchProcess vmm;
  private List<RamMapping> ram;
  private long startTicks;

  @BeforeAll
  static void requireRoot() {
    TestHost.requireRoot();
  }

  @BeforeEach
  void start() {
    vmm = ScratchProcess.withFile(LENGTH, path.toString());
    ram = List.of(RamMapping.locate(vmm.pid(), "pc.ram", path.toString(), LENGTH));
    startTicks = ProcessStart.ticks(vmm.pid());
  }

  @AfterEach
  void stop() throws IOException {
    vmm.close();
    Files.deleteIfExists(path);
  }

  private OptionalInt found() {
    return RamWriters.findBeside(vmm.pid(), startTicks, ram);
  }

  @Test
  void theVmmItselfIsNoneAndWhoOnlyReadsIsNone() throws IOException {
    assertThat(found()).isEmpty();
    try (RamFile file = ram.getFirst().open(false);
        MappedRam _ = file.mapReadOnly()) {
      assertThat(found()).isEmpty();
    }
  }

  @Test
  void whoMapsTheFileToWriteToItIsFoundAlsoWhenTheVmmHasEnded() throws IOException {
    try (Arena arena = Arena.ofConfined();
        FileChannel file =
            FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      file.map(FileChannel.MapMode.READ_WRITE, 0, LENGTH, arena);
      assertThat(found()).hasValue(OURSELVES);
      vmm.kill();
      assertThat(found()).hasValue(OURSELVES);
    }
    assertThat(found()).as("when it has let go").isEmpty();
  }

  /** Pids are used again: the process that has the VMM's now is not the VMM. */
  @Test
  void aProcessWithTheVmmsPidThatStartedAtAnotherTimeIsNotTheVmm() {
    assertThat(RamWriters.findBeside(vmm.pid(), startTicks - 1, ram)).hasValue(vmm.pid());
  }
}
