package dev.postcopy.dest.cli;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.JsonOption;
import dev.postcopy.cli.Verbosity;
import dev.postcopy.cli.WatchOptions;
import dev.postcopy.dest.session.ResumeSession;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code dest-agent resume}: a migration whose agent died, from where its journal says. */
@Command(
    name = "resume",
    description = {
      "Takes a migration up whose destination agent died. The guest has waited for what was not",
      "here; the source agent connects again by itself, or with its own resume."
    },
    mixinStandardHelpOptions = true)
final class ResumeCommand implements Callable<Integer> {

  @Option(
      names = "--qmp",
      required = true,
      paramLabel = "SOCKET",
      description = "The QMP unix socket of the QEMU that takes the guest in.")
  private Path qmp = Path.of("");

  @Mixin private CommonOptions options = new CommonOptions();
  @Mixin private JsonOption output = new JsonOption();

  @Mixin private WatchOptions watching = new WatchOptions();
  @Mixin private Verbosity verbosity = new Verbosity();

  @Override
  public Integer call() {
    verbosity.apply();
    ResumeSession session = new ResumeSession(options.with(qmp), CommonOptions::sayWhere);
    return new CommandRunner(DestAgent::asRefusal)
        .run(
            output.json(),
            session::cancel,
            () ->
                watching.watch(
                    options.stateFolder(),
                    session.view(String.valueOf(qmp.getFileName())),
                    session::run));
  }
}
