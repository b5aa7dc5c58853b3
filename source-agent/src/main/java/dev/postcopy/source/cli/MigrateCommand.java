package dev.postcopy.source.cli;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.Verbosity;
import dev.postcopy.source.session.MigrateSession;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code source-agent migrate}: one guest, from here to there. */
@Command(
    name = "migrate",
    description = "Migrates the guest of a QEMU; exits when the destination has everything.",
    mixinStandardHelpOptions = true)
final class MigrateCommand implements Callable<Integer> {

  @Option(
      names = "--qmp",
      required = true,
      paramLabel = "SOCKET",
      description = "The QMP unix socket of the QEMU whose guest is to move.")
  private Path qmp = Path.of("");

  @Mixin private CommonOptions options = new CommonOptions();

  @Mixin private Verbosity verbosity = new Verbosity();

  @Override
  public Integer call() {
    verbosity.apply();
    ProgressBar progress = new ProgressBar(System.err);
    MigrateSession session = new MigrateSession(options.with(qmp), progress);
    return new CommandRunner(SourceAgent::asRefusal)
        .run(options.json(), session::cancel, () -> progress.during(session::run));
  }
}
