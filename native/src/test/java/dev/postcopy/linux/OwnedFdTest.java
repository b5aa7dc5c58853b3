package dev.postcopy.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.linux.abi.Errno;
import dev.postcopy.linux.abi.FileCalls;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class OwnedFdTest {
  @Test
  void closesOnceSoThatAReusedNumberStaysOpen() {
    OwnedFd first = OwnedFd.open("/dev/null", FileCalls.O_RDWR);
    int number = first.number();
    first.close();
    try (OwnedFd second = OwnedFd.open("/dev/null", FileCalls.O_RDWR)) {
      first.close();

      assertThat(Files.exists(Path.of("/proc/self/fd/" + second.number())))
          .as("descriptor %d after a second close of %d", second.number(), number)
          .isTrue();
    }
  }

  @Test
  void doesNotTellTheNumberOfAClosedDescriptor() {
    OwnedFd fd = OwnedFd.open("/dev/null", FileCalls.O_RDONLY);
    fd.close();

    assertThatThrownBy(fd::number).isInstanceOf(IllegalStateException.class);
  }

  @Test
  void doesNotCloseWhatItReleased() {
    OwnedFd fd = OwnedFd.open("/dev/null", FileCalls.O_RDONLY);
    int number = fd.release();
    fd.close();

    try (OwnedFd again = OwnedFd.adopt(number)) {
      assertThat(Files.exists(Path.of("/proc/self/fd/" + again.number()))).isTrue();
    }
  }

  @Test
  void saysWhichFileCouldNotBeOpened() {
    assertThatThrownBy(() -> OwnedFd.open("/nowhere/at/all", FileCalls.O_RDONLY))
        .isInstanceOfSatisfying(
            LinuxException.class, e -> assertThat(e.errno()).isEqualTo(Errno.ENOENT))
        .hasMessageStartingWith("open(/nowhere/at/all): ENOENT");
  }
}
