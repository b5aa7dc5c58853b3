package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.linux.abi.Errno;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class HostCheckTest {
  @Test
  void parsesReleasesOfDistributions() {
    assertThat(KernelVersion.parse("6.18.44-fc-v657")).isEqualTo(new KernelVersion(6, 18));
    assertThat(KernelVersion.parse("5.4")).isEqualTo(new KernelVersion(5, 4));
  }

  @Test
  void comparesMinorVersionsAsNumbers() {
    assertThat(new KernelVersion(5, 11).isAtLeast(5, 6)).isTrue();
    assertThat(new KernelVersion(5, 11).isAtLeast(6, 0)).isFalse();
    assertThat(new KernelVersion(6, 0).isAtLeast(5, 11)).isTrue();
  }

  @Test
  void refusesAnOldKernelAndNamesTheOneThatIsNeeded() {
    assertThatThrownBy(() -> HostCheck.requireKernel(new KernelVersion(5, 10), "amd64"))
        .isInstanceOf(HostRefusal.class)
        .hasMessage("this kernel is Linux 5.10; use Linux 5.11 or later");
  }

  @Test
  void refusesAnotherArchitecture() {
    assertThatThrownBy(() -> HostCheck.requireKernel(new KernelVersion(6, 18), "aarch64"))
        .isInstanceOfSatisfying(
            HostRefusal.class,
            refusal -> {
              assertThat(refusal.reason()).contains("aarch64");
              assertThat(refusal.remedy()).contains("x86-64");
            });
  }

  @Test
  void acceptsTheKernelOfThisHost() {
    assertThatCode(HostCheck::requireKernel).doesNotThrowAnyException();
  }

  @Test
  void aProcessOfOurOwnMayBeTraced() throws Exception {
    TestHost.requireRoot();
    Process other = new ProcessBuilder("sleep", "60").start();
    try {
      int pid = (int) other.pid();
      assertThatCode(() -> HostCheck.requireTraceable(pid)).doesNotThrowAnyException();
      assertThat(Files.readString(Path.of("/proc", Integer.toString(pid), "status")))
          .as("nobody traces it")
          .contains("TracerPid:\t0\n");
    } finally {
      other.destroyForcibly().waitFor();
    }
  }

  @Test
  void aProcessThatIsGoneIsNamed() throws Exception {
    Process other = new ProcessBuilder("true").start();
    other.waitFor();
    assertThatThrownBy(() -> HostCheck.requireTraceable((int) other.pid()))
        .hasMessageContaining("ESRCH");
  }

  @Test
  void aProcessWithPrivilegesMakesItsUserfaultfdItself() {
    TestHost.requireRoot();
    assertThat(HostCheck.requireUserfaultfdIn((int) ProcessHandle.current().pid()))
        .contains("userfaultfd(2)");
  }

  @Test
  void factsOfThisHostAreFound() {
    assertThat(HostFacts.availableBytes()).isPresent();
    assertThat(HostFacts.availableBytes().getAsLong()).isPositive();
    HostFacts.tmpfsHugePages()
        .ifPresent(
            when ->
                assertThat(when).isIn("always", "within_size", "advise", "never", "deny", "force"));
  }

  @Test
  void anErrorNamesItsCallItsSymbolAndItsText() {
    LinuxException e = new LinuxException("ioctl(UFFDIO_REGISTER)", Errno.EBUSY);

    assertThat(e).hasMessage("ioctl(UFFDIO_REGISTER): EBUSY (Device or resource busy)");
    assertThat(e.call()).isEqualTo("ioctl(UFFDIO_REGISTER)");
    assertThat(e.errno()).isEqualTo(Errno.EBUSY);
  }

  @Test
  void everyErrorConstantHasItsOwnName() throws Exception {
    for (var field : Errno.class.getFields()) {
      assertThat(Errno.name((int) field.get(null))).isEqualTo(field.getName());
    }
  }
}
