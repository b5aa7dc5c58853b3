package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.linux.abi.Errno;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

class ProcMapsTest {
  @Test
  void parsesADeletedFileWithBlanksInItsName() {
    Mapping mapping =
        ProcMaps.parse(
            "7f0000000000-7f0000200000 rw-s 00001000 00:1a 12345      /dev/shm/my vm (deleted)");

    assertThat(mapping.range())
        .isEqualTo(new RemoteRange(new RemoteAddress(0x7f00_0000_0000L), 0x200000));
    assertThat(mapping.firstVma()).isEqualTo(mapping.range());
    assertThat(mapping.readable() && mapping.writable() && mapping.shared()).isTrue();
    assertThat(mapping.executable()).isFalse();
    assertThat(mapping.fileByteOffset()).isEqualTo(0x1000);
    assertThat(mapping.device()).isEqualTo(0x1a);
    assertThat(mapping.inode()).isEqualTo(12345);
    assertThat(mapping.path()).isEqualTo("/dev/shm/my vm");
    assertThat(mapping.deleted()).isTrue();
  }

  @Test
  void parsesAnonymousMemoryAndTheTopmostMapping() {
    Mapping anonymous = ProcMaps.parse("7f0000000000-7f0000001000 ---p 00000000 00:00 0 ");
    Mapping vsyscall =
        ProcMaps.parse("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]");

    assertThat(anonymous.path()).isEmpty();
    assertThat(anonymous.inode()).isZero();
    assertThat(vsyscall.range().start()).hasToString("0xffffffffff600000");
    assertThat(vsyscall.range().byteLength()).isEqualTo(4096);
  }

  @Test
  void refusesALineThatIsNone() {
    assertThatThrownBy(() -> ProcMaps.parse("7f00-8000 rw"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("7f00-8000 rw");
  }

  @Test
  void mergesWhatMadviseSplitAndKeepsTheFirstVma() {
    List<Mapping> merged =
        merge(
            "1000-3000 rw-s 00000000 00:1a 7 /dev/shm/ram",
            "3000-4000 rw-s 00002000 00:1a 7 /dev/shm/ram",
            "4000-9000 rw-s 00003000 00:1a 7 /dev/shm/ram");

    assertThat(merged).hasSize(1);
    assertThat(merged.getFirst().range())
        .isEqualTo(new RemoteRange(new RemoteAddress(0x1000), 0x8000));
    assertThat(merged.getFirst().firstVma())
        .as("what /proc/PID/map_files has a link for")
        .isEqualTo(new RemoteRange(new RemoteAddress(0x1000), 0x2000));
  }

  @Test
  void doesNotMergeAcrossAGapAnotherFileAnotherOffsetOrOtherRights() {
    String first = "1000-2000 rw-s 00000000 00:1a 7 /dev/shm/ram";
    List<String> others =
        List.of(
            "3000-4000 rw-s 00001000 00:1a 7 /dev/shm/ram",
            "2000-3000 rw-s 00001000 00:1a 8 /dev/shm/ram",
            "2000-3000 rw-s 00001000 00:1b 7 /dev/shm/ram",
            "2000-3000 rw-s 00000000 00:1a 7 /dev/shm/ram",
            "2000-3000 r--s 00001000 00:1a 7 /dev/shm/ram",
            "2000-3000 rw-p 00001000 00:1a 7 /dev/shm/ram");

    assertThat(others).allSatisfy(other -> assertThat(merge(first, other)).hasSize(2));
  }

  @Test
  void doesNotMergeAnonymousMemory() {
    assertThat(merge("1000-2000 rw-p 00000000 00:00 0 ", "2000-3000 rw-p 00001000 00:00 0 "))
        .hasSize(2);
  }

  @Test
  void readsTheMappingsOfThisProcess() {
    assertThat(ProcMaps.read((int) ProcessHandle.current().pid()))
        .extracting(Mapping::path)
        .contains("[vdso]", "[stack]");
  }

  @Test
  void saysEsrchForAProcessThatIsNotThere() {
    assertThatThrownBy(() -> ProcMaps.read(Integer.MAX_VALUE))
        .isInstanceOfSatisfying(
            LinuxException.class, e -> assertThat(e.errno()).isEqualTo(Errno.ESRCH));
  }

  private static List<Mapping> merge(String... lines) {
    return ProcMaps.mergeAdjacent(Stream.of(lines).map(ProcMaps::parse).toList());
  }
}
