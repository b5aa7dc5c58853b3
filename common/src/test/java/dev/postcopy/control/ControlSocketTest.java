package dev.postcopy.control;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.Refusal;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ControlSocketTest {

  private static final Path MONITOR = Path.of("/run/vm/one.qmp");

  @TempDir private Path folder;

  @Test
  void aRunningMigrationAnswersWhoKnowsItsMonitor() throws IOException {
    try (ControlSocket _ = ControlSocket.open(folder, MONITOR, said -> "heard " + said)) {
      assertThat(ControlSocket.say(folder, MONITOR, "cancel")).isEqualTo("heard cancel");
      assertThat(ControlSocket.say(folder, Path.of("/run/vm/../vm/one.qmp"), "set 1"))
          .as("by another way to the same monitor")
          .isEqualTo("heard set 1");
    }
    try (var files = Files.list(folder)) {
      assertThat(files).as("left in the state folder").isEmpty();
    }
  }

  @Test
  void aMigrationThatIsNotUnderWayIsNamed() throws IOException {
    try (ControlSocket _ = ControlSocket.open(folder, MONITOR, said -> said)) {
      assertThatThrownBy(() -> ControlSocket.say(folder, Path.of("/run/vm/two.qmp"), "cancel"))
          .isInstanceOf(Refusal.class)
          .hasMessageContaining("no migration of /run/vm/two.qmp is under way");
    }
  }
}
