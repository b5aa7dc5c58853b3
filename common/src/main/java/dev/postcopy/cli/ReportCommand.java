package dev.postcopy.cli;

import dev.postcopy.metrics.MigrationRecord;
import dev.postcopy.metrics.ReportPage;
import java.io.IOException;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Parameters;

/** {@code report}: a web page of a record that an agent has kept. */
@Command(
    name = "report",
    description = "Makes a web page of a record in the folder records of --state-dir.",
    mixinStandardHelpOptions = true)
public final class ReportCommand implements Callable<Integer> {

  @Parameters(paramLabel = "RECORD.json", description = "The record.")
  private Path record = Path.of("");

  @Parameters(paramLabel = "FILE.html", description = "The page.")
  private Path page = Path.of("");

  @Override
  public Integer call() {
    try {
      ReportPage.write(MigrationRecord.read(record), page);
      return ExitCode.COMPLETED.code();
    } catch (IOException e) {
      System.err.println("refused: no page of %s: %s".formatted(record, e.getMessage()));
      return ExitCode.REFUSED.code();
    }
  }
}
