package dev.postcopy.daemon;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.Refusal;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class VmFolderTest {

  @TempDir private Path folder;

  private VmFolder vms() {
    return new VmFolder(Optional.of(folder));
  }

  @Test
  void theNameOfAMachineIsThatOfItsSocket() throws IOException {
    Path socket = Files.createFile(folder.resolve("web 1.qmp"));

    assertThat(vms().socketOfName("web 1.qmp")).isEqualTo(socket);
    assertThat(vms().socket("web 1.qmp")).isEqualTo(socket);
    assertThat(vms().socket(folder + "/./web 1.qmp")).isEqualTo(socket);
    assertThat(VmFolder.nameOf(socket)).isEqualTo("web 1.qmp");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"", ".", "..", ".hidden", "../web", "a/b", "/etc/passwd", "a\u0000b", "a\nb"})
  void whatIsNoFileNameIsNoName(String name) {
    assertThatThrownBy(() -> vms().socketOfName(name))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining("is no name of a VM");
  }

  @Test
  void aNameFitsTheWire() throws IOException {
    String longest = "é".repeat(64);
    Files.createFile(folder.resolve(longest));

    assertThat(vms().socketOfName(longest)).exists();
    assertThatThrownBy(() -> vms().socketOfName(longest + "x"))
        .hasMessageContaining("at most 128 bytes");
  }

  /** A migration is taken up by the name of a machine whose QEMU is gone, and its socket. */
  @Test
  void theAddressOfAMachineIsKnownWithoutIt() {
    assertThat(vms().address("web")).isEqualTo(folder.resolve("web"));
    assertThat(vms().address(folder + "/./web")).isEqualTo(folder.resolve("web"));
    assertThatThrownBy(() -> vms().address(".hidden")).isInstanceOf(Refusal.class);
  }

  @Test
  void aMachineThatIsNotThereIsNamed() {
    assertThatThrownBy(() -> vms().socket("web"))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining("no VM 'web' here");
  }

  @Test
  void withoutAFolderOnlyPathsAreKnown() throws IOException {
    VmFolder none = new VmFolder(Optional.empty());
    Path socket = Files.createFile(folder.resolve("web"));

    assertThat(none.socket(socket.toString())).isEqualTo(socket);
    assertThatThrownBy(() -> none.socket("web")).hasMessageContaining("--vm-dir");
  }
}
