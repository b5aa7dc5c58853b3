package dev.postcopy.dest.cli;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.JsonOption;
import dev.postcopy.cli.Verbosity;
import dev.postcopy.cli.WatchOptions;
import dev.postcopy.daemon.Migration;
import dev.postcopy.dest.session.ReceiveOptions;
import java.nio.file.Path;
import java.util.function.Function;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** What {@code receive} and {@code resume} take, which are about one guest, and do with it. */
final class OneGuest {

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

  /** Runs the migration that {@code made} makes; returns the exit code. */
  int run(Function<ReceiveOptions, Migration> made) {
    verbosity.apply();
    Migration migration = made.apply(options.with(qmp));
    return new CommandRunner(DestAgent::asRefusal)
        .run(
            output.json(),
            migration::cancel,
            () ->
                watching.watch(
                    options.stateFolder(),
                    migration.view(String.valueOf(qmp.getFileName())),
                    migration::run));
  }
}
