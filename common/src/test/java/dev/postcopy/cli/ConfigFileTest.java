package dev.postcopy.cli;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

class ConfigFileTest {

  @Command(
      name = "agent",
      subcommands = {Serve.class, Status.class, OneShot.class})
  private static final class Agent {}

  @Command(name = "serve", mixinStandardHelpOptions = true)
  private static final class Serve implements Runnable {
    @Option(names = "--listen", required = true)
    private @Nullable String listen;

    @Option(names = "--state-dir", defaultValue = "/run/postcopy")
    private @Nullable String stateFolder;

    @Option(names = "--insecure")
    private boolean insecure;

    @SuppressWarnings("UnusedVariable")
    @Mixin
    private ConfigOption config = new ConfigOption();

    @Override
    public void run() {}
  }

  @Command(name = "status")
  private static final class Status implements Runnable {
    @Option(names = "--state-dir", defaultValue = "/run/postcopy")
    private @Nullable String stateFolder;

    @Override
    public void run() {}
  }

  @Command(name = "receive")
  private static final class OneShot implements Runnable {
    @Option(names = "--listen", defaultValue = "localhost:0")
    private @Nullable String listen;

    @Override
    public void run() {}
  }

  @TempDir private Path folder = Path.of("");

  private Path standard = Path.of("");
  private CommandLine agent = new CommandLine(new Agent());
  private final StringWriter messages = new StringWriter();

  @BeforeEach
  void anAgent() {
    standard = folder.resolve("agent.conf");
    agent =
        CommandRunner.commandLine(new Agent())
            .setDefaultValueProvider(new ConfigFile(standard))
            .setErr(new PrintWriter(messages, true));
  }

  @Test
  void theFileGivesDefaultsAndTheCommandLineWins() throws IOException {
    Files.writeString(
        standard,
        """
        # Where sources come in.
        listen = 0.0.0.0:7000

          state-dir=/var/lib/elsewhere
        insecure = true
        """);

    assertThat(agent.execute("serve", "--listen", "[::1]:7001")).isZero();

    Serve serve = command("serve", Serve.class);
    assertThat(serve.listen).isEqualTo("[::1]:7001");
    assertThat(serve.stateFolder).isEqualTo("/var/lib/elsewhere");
    assertThat(serve.insecure).isTrue();
  }

  @Test
  void anOptionThatIsRequiredMayComeFromTheFile() throws IOException {
    Files.writeString(standard, "listen = 0.0.0.0:7000\n");

    assertThat(agent.execute("serve")).isZero();

    assertThat(command("serve", Serve.class).listen).isEqualTo("0.0.0.0:7000");
  }

  @Test
  void aFileThatIsNamedTakesThePlaceOfTheStandardOne() throws IOException {
    Files.writeString(standard, "insecure = true\n");
    Path other = Files.writeString(folder.resolve("other.conf"), "listen = host:1\n");

    assertThat(agent.execute("serve", "--config", other.toString())).isZero();

    assertThat(command("serve", Serve.class).listen).isEqualTo("host:1");
    assertThat(command("serve", Serve.class).insecure).isFalse();
  }

  @Test
  void theStandardFileNeedNotBeThere() {
    assertThat(agent.execute("serve", "--listen", "host:1")).isZero();
  }

  @Test
  void aFileThatIsNamedMustBeThere() {
    assertRefused(folder.resolve("none.conf") + " is not there", "--config", "none.conf");
  }

  @Test
  void aWrongKeyIsNamedWithItsFileItsLineAndTheNearestRightOne() throws IOException {
    Files.writeString(standard, "# comment\n\nlisten = host:1\nstatedir = /x\n");

    assertRefused(standard + ":4: there is no key 'statedir'; write 'state-dir'");
  }

  @Test
  void whatConcernsTheCommandLineAloneIsNoKey() throws IOException {
    Files.writeString(standard, "config = /etc/other.conf\n");
    assertRefused(":1: there is no key 'config'");

    Files.writeString(standard, "help = true\n");
    assertRefused(":1: there is no key 'help'");
  }

  @Test
  void aKeyWithoutAValueIsRefused() throws IOException {
    Files.writeString(standard, "listen\n");
    assertRefused(":1: 'listen' has no value");

    Files.writeString(standard, "listen = \n");
    assertRefused(":1: 'listen' has no value");
  }

  @Test
  void aKeyThatIsThereTwiceIsRefused() throws IOException {
    Files.writeString(standard, "listen = host:1\nlisten = host:2\n");

    assertRefused(":2: 'listen' is there a second time");
  }

  @Test
  void theHelpIsThereWhateverTheFileHas() throws IOException {
    Files.writeString(standard, "nonsense\n");

    assertThat(agent.setOut(new PrintWriter(messages, true)).execute("serve", "--help")).isZero();
  }

  @Test
  void otherCommandsFindTheAgentWhereItsFileSaysAndTakeNothingElseFromIt() throws IOException {
    Files.writeString(standard, "listen = 0.0.0.0:7000\nstate-dir = /elsewhere\n");

    assertThat(agent.execute("status")).isZero();
    assertThat(agent.execute("receive")).isZero();

    assertThat(command("status", Status.class).stateFolder).isEqualTo("/elsewhere");
    assertThat(command("receive", OneShot.class).listen).isEqualTo("localhost:0");
  }

  private void assertRefused(String message, String... arguments) {
    String[] all = new String[arguments.length + 1];
    all[0] = "serve";
    for (int at = 0; at < arguments.length; at++) {
      all[at + 1] =
          arguments[at].endsWith(".conf")
              ? folder.resolve(arguments[at]).toString()
              : arguments[at];
    }
    messages.getBuffer().setLength(0);
    assertThat(agent.execute(all)).isEqualTo(ExitCode.REFUSED.code());
    assertThat(messages.toString()).contains(message).hasLineCount(1);
  }

  private <T> T command(String name, Class<T> type) {
    return type.cast(requireNonNull(agent.getSubcommands().get(name)).getCommand());
  }
}
