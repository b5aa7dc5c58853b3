package dev.postcopy.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.metrics.MigrationReport;
import dev.postcopy.metrics.MigrationReport.FaultLatency;
import dev.postcopy.metrics.MigrationReport.PageCounts;
import dev.postcopy.metrics.Outcome;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

class CommandRunnerTest {

  private final PrintStream realOut = System.out;
  private final PrintStream realErr = System.err;
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  @BeforeEach
  void captureStreams() {
    System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
    System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
  }

  @AfterEach
  void releaseStreams() {
    System.setOut(realOut);
    System.setErr(realErr);
  }

  @Test
  void isSilentAboutASuccess() {
    assertThat(run(false, CommandRunnerTest::completed)).isZero();

    assertThat(out.toString(StandardCharsets.UTF_8)).isEmpty();
    assertThat(err.toString(StandardCharsets.UTF_8)).isEmpty();
  }

  @Test
  void printsTheReportAsTheLastLineOfStandardOutput() {
    run(true, CommandRunnerTest::completed);

    assertThat(out.toString(StandardCharsets.UTF_8))
        .startsWith("{\"status\":\"completed\"")
        .endsWith("}" + System.lineSeparator());
    assertThat(err.toString(StandardCharsets.UTF_8)).isEmpty();
  }

  @ParameterizedTest
  @CsvSource({"FAILED_AT_SOURCE, 1", "REFUSED, 2", "INCOMPLETE_AT_DESTINATION, 3"})
  void exitsWithTheCodeOfTheOutcomeAndOneLine(ExitCode exitCode, int code) {
    Outcome outcome = new Outcome(exitCode, MigrationReport.without("failed", "for a reason"));

    assertThat(run(false, () -> outcome)).isEqualTo(code);

    assertThat(err.toString(StandardCharsets.UTF_8).lines())
        .containsExactly("failed: for a reason");
  }

  @Test
  void turnsARefusalIntoOneLineAndExitCode2() {
    Refusal refusal = new Refusal("guest RAM mem is not shared", "use share=on");

    assertThat(run(true, () -> fail(refusal))).isEqualTo(2);

    assertThat(err.toString(StandardCharsets.UTF_8).lines())
        .containsExactly("refused: guest RAM mem is not shared; use share=on");
    assertThat(out.toString(StandardCharsets.UTF_8))
        .contains("\"reason\":\"guest RAM mem is not shared; use share=on\"");
  }

  @Test
  void recognisesTheRefusalsOfOtherLayers() {
    CommandRunner runner =
        new CommandRunner(
            e ->
                e instanceof UnsupportedOperationException
                    ? new Refusal("no uffd", "load it")
                    : null);

    int code = runner.run(false, () -> {}, () -> fail(new UnsupportedOperationException("x")));

    assertThat(code).isEqualTo(2);
    assertThat(err.toString(StandardCharsets.UTF_8).lines())
        .containsExactly("refused: no uffd; load it");
  }

  @Test
  void namesWhatItDidNotExpectWithoutAStackTrace() {
    int code = run(false, () -> fail(new IllegalStateException("bug")));

    assertThat(code).isNotZero();
    assertThat(err.toString(StandardCharsets.UTF_8).lines())
        .singleElement()
        .asString()
        .contains("unexpected java.lang.IllegalStateException: bug", "-v");
  }

  /** Nobody knows where the guest is then, and a signal must still end the process. */
  @Test
  void anErrorOfTheJvmIsAnEndToo() {
    int code =
        run(
            true,
            () -> {
              throw new NoClassDefFoundError("gone");
            });

    assertThat(code).isEqualTo(3);
    assertThat(err.toString(StandardCharsets.UTF_8))
        .contains("incomplete: unexpected java.lang.NoClassDefFoundError: gone", "resume");
    assertThat(out.toString(StandardCharsets.UTF_8)).contains("\"status\":\"incomplete\"");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "", // the address is missing
        "--to", // its value is missing
        "--to=nonsense",
        "--to=::1:80",
        "--to=host:80 --unknown",
        "--to=host:80 surplus",
        "--to=host:80 --to=host:81",
        "--to=host:80 --count=x"
      })
  void answersWrongUsageWithOneLineAndExitCode2(String arguments) {
    StringWriter errors = new StringWriter();
    CommandLine commandLine =
        CommandRunner.commandLine(new Sample()).setErr(new PrintWriter(errors, true));

    int code = commandLine.execute(arguments.isEmpty() ? new String[0] : arguments.split(" ", -1));

    assertThat(code).as("exit code of wrong usage").isEqualTo(2);
    assertThat(errors.toString().lines())
        .as("lines on standard error")
        .singleElement()
        .asString()
        .startsWith("wrong usage: ")
        .endsWith("; see --help");
    assertThat(out.toString(StandardCharsets.UTF_8)).isEmpty();
  }

  /** Also a wrong line in the file of a service, which is read as if it were given there. */
  @Test
  void theJournalTakesWrongUsageAsAnError() {
    StringWriter errors = new StringWriter();

    int code =
        CommandRunner.commandLine(new Sample(), true)
            .setErr(new PrintWriter(errors, true))
            .execute("--to=nonsense");

    assertThat(code).isEqualTo(2);
    assertThat(errors.toString().lines()).singleElement().asString().startsWith("<3>wrong usage: ");
  }

  @Test
  void passesTheExitCodeOfACommandOn() {
    assertThat(CommandRunner.commandLine(new Sample()).execute("--to=host:80", "--count=3"))
        .isEqualTo(3);
  }

  @Command(name = "sample", mixinStandardHelpOptions = true)
  private static final class Sample implements Callable<Integer> {

    @Option(names = "--to", required = true, converter = HostAndPort.Converter.class)
    private HostAndPort to = new HostAndPort("unset", 0);

    @Option(names = "--count")
    private int count;

    @Parameters(arity = "0")
    private String[] none = {};

    @Override
    public Integer call() {
      return to.port() == 80 && none.length == 0 ? count : -1;
    }
  }

  private static int run(boolean json, Supplier<Outcome> migration) {
    return new CommandRunner(e -> null).run(json, () -> {}, migration);
  }

  private static Outcome fail(RuntimeException e) {
    throw e;
  }

  private static Outcome completed() {
    return new Outcome(
        ExitCode.COMPLETED,
        new MigrationReport(
            "completed", "", 1, 2, FaultLatency.NONE, PageCounts.NONE, 3, Optional.empty()));
  }
}
