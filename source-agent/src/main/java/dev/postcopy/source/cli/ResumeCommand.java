package dev.postcopy.source.cli;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.Verbosity;
import dev.postcopy.source.session.ResumeSession;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code source-agent resume}: a migration whose agent died, from where its journal says. */
@Command(
    name = "resume",
    description = {
      "Takes a migration up whose source agent died. Before the commit the guest is set going here",
      "again; after it the rest of its memory is sent to the destination."
    },
    mixinStandardHelpOptions = true)
final class ResumeCommand implements Callable<Integer> {

  @Option(
      names = "--qmp",
      paramLabel = "SOCKET",
      description = "Which migration, where there are several: that of this QEMU.")
  private @Nullable Path qmp;

  @Mixin private CommonOptions options = new CommonOptions();

  @Mixin private Verbosity verbosity = new Verbosity();

  @Override
  public Integer call() {
    verbosity.apply();
    ProgressBar progress = new ProgressBar(System.err);
    ResumeSession session =
        new ResumeSession(options.with(Path.of("")), Optional.ofNullable(qmp), progress);
    return new CommandRunner(SourceAgent::asRefusal)
        .run(options.json(), session::cancel, () -> progress.during(session::run));
  }
}
