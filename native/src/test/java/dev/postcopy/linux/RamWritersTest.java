package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.management.ManagementFactory;
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
import org.junit.jupiter.params.Parameter;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.ValueSource;

@ParameterizedClass(name = "the kernel finds the mappings: {0}")
@ValueSource(booleans = {true, false})
class RamWritersTest {

  private static final long LENGTH = 1 << 20;
  private static final int OURSELVES = (int) ProcessHandle.current().pid();
  private static final int MAPPINGS = 20_000;
  private static final long LINE_BYTES = 80;

  private final Path path = Path.of("/dev/shm", "ram-writers-test-" + OURSELVES);

  @Parameter private boolean kernelFinds;

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
    return RamWriters.findBeside(vmm.pid(), startTicks, ram, kernelFinds);
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

  /** For each migration, every second: what it leaves behind is collected while faults wait. */
  @Test
  void lookingForThemMakesLittleGarbageHoweverMuchIsMapped() throws IOException {
    com.sun.management.ThreadMXBean threads =
        (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
    try (Arena arena = Arena.ofConfined();
        FileChannel file = FileChannel.open(path, StandardOpenOption.READ)) {
      for (int i = 0; i < MAPPINGS; i++) {
        file.map(FileChannel.MapMode.READ_ONLY, 0, 4096, arena);
      }
      found();
      long before = threads.getCurrentThreadAllocatedBytes();
      found();
      assertThat(threads.getCurrentThreadAllocatedBytes() - before)
          .as("bytes, where the lines alone are more than %d", LINE_BYTES * MAPPINGS)
          .isLessThan(LINE_BYTES * MAPPINGS);
    }
  }

  /** Pids are used again: the process that has the VMM's now is not the VMM. */
  @Test
  void aProcessWithTheVmmsPidThatStartedAtAnotherTimeIsNotTheVmm() {
    assertThat(RamWriters.findBeside(vmm.pid(), startTicks - 1, ram, kernelFinds))
        .hasValue(vmm.pid());
  }
}
