package dev.postcopy.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What a service manager is told of an agent that cannot serve. */
class DaemonRunnerTest {

  private static final int NOT_TO_BE_STARTED_AGAIN = 2;

  private final PrintStream realErr = System.err;
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  @BeforeEach
  void captureErrors() {
    System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
  }

  @AfterEach
  void releaseErrors() {
    System.setErr(realErr);
  }

  private int run(boolean toJournal, RuntimeException thrown) {
    return new DaemonRunner(e -> null, toJournal, Duration.ZERO)
        .run(
            () -> {
              throw thrown;
            });
  }

  private String said() {
    return err.toString(StandardCharsets.UTF_8);
  }

  @Test
  void aWrongConfigurationStaysWrong() {
    assertThat(run(false, new Refusal("no certificates", "give some")))
        .isEqualTo(NOT_TO_BE_STARTED_AGAIN);
    assertThat(said()).isEqualTo("refused: no certificates; give some\n");
  }

  @Test
  void aPortThatIsTakenMayBeFreeTheNextTime() {
    assertThat(run(false, Refusal.passing("cannot listen on x:7000", "choose another")))
        .isNotEqualTo(NOT_TO_BE_STARTED_AGAIN)
        .isNotZero();
    assertThat(said()).isEqualTo("refused: cannot listen on x:7000; choose another\n");
  }

  @Test
  void whatNobodyExpectedMayGoBetterTheNextTime() {
    assertThat(run(false, new IllegalStateException("odd")))
        .isNotEqualTo(NOT_TO_BE_STARTED_AGAIN)
        .isNotZero();
    assertThat(said()).contains("refused: unexpected java.lang.IllegalStateException: odd; ");
  }

  @Test
  void theJournalTakesItAsAnError() {
    assertThat(run(true, new Refusal("no certificates", "give some")))
        .isEqualTo(NOT_TO_BE_STARTED_AGAIN);
    assertThat(said()).isEqualTo("<3>refused: no certificates; give some\n");
  }
}
