package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.assertj.core.api.AbstractStringAssert;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class RamMappingTest {
  private static final long LENGTH = 1 << 20;
  private static final String FILE = "7f0000000000-7f0000100000 rw-s 00000000 00:1a 7 ";

  @BeforeAll
  static void requireRoot() {
    TestHost.requireRoot();
  }

  @Test
  void findsAMemfd() {
    try (ScratchProcess process = ScratchProcess.withMemfd(LENGTH)) {
      RamMapping ram = RamMapping.locate(process.pid(), "pc.ram", "", LENGTH);

      assertThat(ram.range()).isEqualTo(process.range());
      assertThat(ram.path()).isEqualTo("/memfd:scratch");
    }
  }

  @Test
  void findsAnUnlinkedFileByItsDirectoryAndByItsPath() throws Exception {
    Path path = Path.of("/dev/shm", "ram-mapping-test-" + ProcessHandle.current().pid());
    try (ScratchProcess process = ScratchProcess.withFile(LENGTH, path.toString())) {
      Files.delete(path);

      assertThat(RamMapping.locate(process.pid(), "pc.ram", "/dev/shm", LENGTH).range())
          .isEqualTo(process.range());
      assertThat(RamMapping.locate(process.pid(), "pc.ram", path.toString(), LENGTH).range())
          .isEqualTo(process.range());
    }
  }

  @Test
  void refusesAFileThatIsNotOnTmpfs(@TempDir Path directory) {
    Path path = directory.resolve("ram");
    try (ScratchProcess process = ScratchProcess.withFile(LENGTH, path.toString())) {
      assertRefusal(() -> RamMapping.locate(process.pid(), "pc.ram", path.toString(), LENGTH))
          .contains("pc.ram", "filesystem of type 0x");
    }
  }

  @Test
  void refusesHugetlbfsByName() {
    long hugePage = 2 << 20;
    try (ScratchProcess process = ScratchProcess.start(hugePage, "hugetlb")) {
      assertRefusal(() -> RamMapping.locate(process.pid(), "pc.ram", "", hugePage))
          .contains("pc.ram", "hugetlbfs");
    }
  }

  @Test
  void refusesAPrivateMapping() {
    try (ScratchProcess process = ScratchProcess.start(LENGTH, "memfd", "private")) {
      assertRefusal(() -> RamMapping.locate(process.pid(), "pc.ram", "", LENGTH))
          .contains("pc.ram", "not shared", "share=on");
    }
  }

  @Test
  void refusesAnotherLength() {
    try (ScratchProcess process = ScratchProcess.withMemfd(LENGTH)) {
      assertRefusal(() -> RamMapping.locate(process.pid(), "pc.ram", "", LENGTH * 2))
          .contains("pc.ram", "no mapping of 2097152 bytes of a memfd");
    }
  }

  @Test
  void refusesTwoCandidates() {
    assertRefusal(
            () ->
                choose(
                    "/dev/shm",
                    FILE + "/dev/shm/qemu_back_mem.a (deleted)",
                    "7f1000000000-7f1000100000 rw-s 00000000 00:1a 8 /dev/shm/qemu_back_mem.b"))
        .contains("pc.ram", "2 candidates");
  }

  @Test
  void doesNotTakeAFileInAnotherDirectoryWhoseNameStartsAlike() {
    assertRefusal(() -> choose("/dev/shm", FILE + "/dev/shm2/ram")).contains("no mapping");
    assertRefusal(() -> choose("/dev/shm", FILE + "/dev/shm/other/ram")).contains("no mapping");
    assertThat(choose("/dev/shm/", FILE + "/dev/shm/ram").path()).isEqualTo("/dev/shm/ram");
  }

  @Test
  void noticesThatAnotherFileIsMappedThereNow() {
    try (ScratchProcess process = ScratchProcess.withMemfd(LENGTH)) {
      RamMapping found = RamMapping.locate(process.pid(), "pc.ram", "", LENGTH);
      RamMapping stale =
          new RamMapping(
              found.pid(),
              found.blockId(),
              found.range(),
              found.fileByteOffset(),
              found.firstVma(),
              found.device(),
              found.inode() + 1,
              found.path());

      assertThatThrownBy(() -> stale.open(true))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("another file");
    }
  }

  private static Mapping choose(String memPath, String... lines) {
    List<Mapping> mappings = Stream.of(lines).map(ProcMaps::parse).toList();
    return RamMapping.choose(mappings, 1, "pc.ram", memPath, LENGTH);
  }

  private static AbstractStringAssert<?> assertRefusal(ThrowingCallable call) {
    HostRefusal refusal = catchThrowableOfType(HostRefusal.class, call);
    assertThat(refusal).as("a refusal").isNotNull();
    return assertThat(refusal.getMessage()).as("the message of the refusal");
  }
}
