package dev.postcopy.dest.cli;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.JsonOption;
import dev.postcopy.cli.Verbosity;
import dev.postcopy.cli.WatchOptions;
import dev.postcopy.dest.session.ReceiveSession;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code dest-agent receive}: one guest, from there to here. */
@Command(
    name = "receive",
    description = {
      "Takes one guest into a QEMU that was started with -incoming defer.",
      "Exits when the guest runs here and all of its memory is here."
    },
    mixinStandardHelpOptions = true)
final class ReceiveCommand implements Callable<Integer> {

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
    ReceiveSession session = new ReceiveSession(options.with(qmp), CommonOptions::sayWhere);
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
