package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** When a kernel that is too old may put zeros where the guest's memory is to come. */
class HoleFillingTest {

  @ParameterizedTest
  @CsvSource({
    "never,      true,  '',          ''",
    "deny,       true,  '',          ''",
    "advise,     true,  '',          shmem_enabled is advise",
    "always,     true,  '',          shmem_enabled is always",
    "within_size,true,  '',          shmem_enabled is within_size",
    "force,      false, never,       shmem_enabled is force",
    "never,      false, '',          its mount is not among those of the process",
    "deny,       false, '',          ''",
    "always,     false, '',          its mount is not among those of the process",
    "never,      false, never,       ''",
    "never,      false, advise,      huge=advise",
    "never,      false, always,      huge=always",
    "deny,       false, always,      ''",
  })
  void isToldByTheMountOrForMemfdByTheHost(
      String shmemEnabled, boolean memfd, String huge, String cause) {
    assertThat(
            HoleFilling.causeBefore64(
                shmemEnabled, memfd, Optional.of(huge).filter(option -> !option.isEmpty())))
        .isEqualTo(Optional.of(cause).filter(text -> !text.isEmpty()));
  }

  @Test
  void theOptionOfAMountIsFoundByTheDeviceOfItsFiles() {
    List<String> mounts =
        List.of(
            "25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=4k,huge=within_size,inode64",
            "31 23 0:300 / /mnt rw shared:7 - tmpfs tmpfs rw,huge=always",
            "32 23 8:1 / / rw - ext4 /dev/sda1 rw");

    assertThat(HoleFilling.hugeOption(mounts, 23)).contains("within_size");
    // 300 in the minor's upper and lower bits.
    assertThat(HoleFilling.hugeOption(mounts, 0x10002c)).contains("always");
    assertThat(HoleFilling.hugeOption(mounts, 0x801)).contains("never");
    assertThat(HoleFilling.hugeOption(mounts, 24)).isEmpty();
  }

  @Test
  void theDeviceOfAFileHereIsThatOfAMountHere() throws Exception {
    Path shm = Path.of("/dev/shm");
    Object device = Files.getAttribute(shm, "unix:dev");
    List<String> line =
        Files.readAllLines(Path.of("/proc/self/mountinfo")).stream()
            .filter(mount -> mount.contains(" /dev/shm "))
            .map(mount -> mount + ",huge=sometimes")
            .toList();

    assertThat(HoleFilling.hugeOption(line, (Long) device)).contains("sometimes");
  }
}
