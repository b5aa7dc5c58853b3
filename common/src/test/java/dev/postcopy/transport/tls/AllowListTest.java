package dev.postcopy.transport.tls;

import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.Refusal;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class AllowListTest {

  @TempDir
  @SuppressWarnings("NullAway.Init") // set before each test
  private Path folder;

  private Path write(String... lines) throws IOException {
    return Files.write(folder.resolve("allow"), List.of(lines));
  }

  private AllowList listOf(String... lines) throws IOException {
    return new AllowList(write(lines));
  }

  private static void requireAllowed(AllowList list, String name, String vm) {
    assertThatCode(() -> list.require(Set.of(name), vm)).doesNotThrowAnyException();
  }

  private static void requireForbidden(AllowList list, String name, String vm) {
    assertThatThrownBy(() -> list.require(Set.of(name), vm))
        .isInstanceOf(Refusal.class)
        .hasMessageContainingAll(name, "'" + vm + "'", "allow it with a line in");
  }

  @Test
  void aLineAllowsItsHostItsVm() throws IOException {
    AllowList list =
        listOf("# hosts of the first rack", "", "host1 web  # and no other", "\thost2\tdb");

    requireAllowed(list, "host1", "web");
    requireAllowed(list, "host2", "db");
    requireForbidden(list, "host1", "db");
    requireForbidden(list, "host2", "web");
    requireForbidden(list, "#", "hosts");
  }

  @Test
  void aStarStandsForAnyCharactersAndNothingElseDoes() throws IOException {
    AllowList list = listOf("*.rack1.example web-*", "h.st *");

    requireAllowed(list, "a.rack1.example", "web-1");
    requireForbidden(list, "a.rack1.example", "xweb-1");
    requireForbidden(list, "a.rack1.example.org", "web-1");
    requireForbidden(list, "host", "web-1");
    requireAllowed(list, "h.st", "");
  }

  @Test
  void namesOfHostsAreTheSameInCapitalsAndNamesOfVmsAreNot() throws IOException {
    AllowList list = listOf("Host1 web");

    requireAllowed(list, "hOST1", "web");
    requireForbidden(list, "host1", "Web");
  }

  @Test
  void oneOfTheCertificatesNamesIsEnough() throws IOException {
    AllowList list = listOf("host1 web");

    assertThatCode(() -> list.require(Set.of("10.0.0.1", "host1"), "web"))
        .doesNotThrowAnyException();
  }

  @Test
  void whoProvedNoNameMaySendNothing() throws IOException {
    AllowList list = listOf("* *");

    assertThatThrownBy(() -> list.require(Set.of(), "web")).isInstanceOf(Refusal.class);
  }

  @Test
  void anEmptyListAllowsNothing() throws IOException {
    requireForbidden(listOf("# nobody"), "host1", "web");
  }

  @Test
  void aWrongLineIsNamedWithItsFileAndNumber() {
    assertThatThrownBy(() -> listOf("host1 web", "host2"))
        .isInstanceOf(Refusal.class)
        .hasMessageContainingAll(folder.resolve("allow") + ":2:", "'host2'", "1 field");
    assertThatThrownBy(() -> listOf("host1 web db")).hasMessageContainingAll(":1:", "3 field");
  }

  @Test
  void aFileThatIsNotThereIsNamed() {
    Path file = folder.resolve("none");
    assertThatThrownBy(() -> new AllowList(file))
        .isInstanceOf(Refusal.class)
        .hasMessageContainingAll(file.toString(), "--allow");
  }

  @Test
  void aChangedFileCountsAtOnceAndAWrongOneDoesNot() throws IOException {
    AllowList list = listOf("host1 web");

    requireForbidden(list, "host2", "db");
    write("host2 db", "host3 *");
    requireAllowed(list, "host2", "db");
    requireForbidden(list, "host1", "web");

    write("host1 web", "host1");
    requireAllowed(list, "host2", "db");
    requireForbidden(list, "host1", "web");
  }
}
