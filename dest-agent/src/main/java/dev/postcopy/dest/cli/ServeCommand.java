package dev.postcopy.dest.cli;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.ConfigOption;
import dev.postcopy.cli.DaemonRunner;
import dev.postcopy.cli.Verbosity;
import dev.postcopy.cli.WatchOptions;
import dev.postcopy.daemon.VmFolder;
import dev.postcopy.dest.session.DestinationDaemon;
import dev.postcopy.logging.JournalAppender;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code dest-agent serve}: any number of guests, for as long as the host runs. */
@Command(
    name = "serve",
    description = {
      "Takes guests in until it is ended: any number, on one port.",
      "Each goes into the QEMU, started with -incoming defer, whose QMP socket in "
          + "--vm-dir has the name that the source gives. Migrations that an agent left behind "
          + "are taken up."
    },
    mixinStandardHelpOptions = true)
final class ServeCommand implements Callable<Integer> {

  @Option(
      names = "--vm-dir",
      required = true,
      paramLabel = "FOLDER",
      description = "Where QEMUs have their QMP sockets; the name of a VM is the file's name.")
  private Path vmFolder = Path.of("");

  @Mixin private CommonOptions options = new CommonOptions();
  @Mixin private WatchOptions watching = new WatchOptions();

  // ConfigFile looks for it in Picocli's model.
  @SuppressWarnings("UnusedVariable")
  @Mixin
  private ConfigOption config = new ConfigOption();

  @Mixin private Verbosity verbosity = new Verbosity();

  @Override
  public Integer call() {
    JournalAppender.useWhereStandardErrorIsTheJournals("dest-agent", System.getenv());
    verbosity.applyToDaemon();
    return new DaemonRunner(DestAgent::asRefusal).run(this::start);
  }

  private Runnable start() {
    DestinationDaemon daemon =
        DestinationDaemon.start(
            options.with(Path.of("")),
            new VmFolder(Optional.of(vmFolder)),
            new CommandRunner(DestAgent::asRefusal)::toOutcome,
            watching.open(options.stateFolder()),
            System.getenv(),
            CommonOptions::sayWhere);
    return daemon::stop;
  }
}
