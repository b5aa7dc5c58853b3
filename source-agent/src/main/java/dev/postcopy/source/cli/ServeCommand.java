package dev.postcopy.source.cli;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.ConfigOption;
import dev.postcopy.cli.DaemonRunner;
import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Verbosity;
import dev.postcopy.cli.WatchOptions;
import dev.postcopy.daemon.VmFolder;
import dev.postcopy.logging.JournalAppender;
import dev.postcopy.source.session.SourceDaemon;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code source-agent serve}: migrates guests when it is told to, for as long as the host runs. */
@Command(
    name = "serve",
    description = {
      "Migrates guests when it is told to, until it is ended.",
      "Any number at a time, each by source-agent migrate. Migrations that an agent left "
          + "behind are taken up."
    },
    mixinStandardHelpOptions = true)
final class ServeCommand implements Callable<Integer> {

  @Option(
      names = "--vm-dir",
      paramLabel = "FOLDER",
      description = {
        "Where QEMUs have their QMP sockets; the name of a VM is the file's name. Without it VMs",
        "are named by the paths of their sockets."
      })
  private @Nullable Path vmFolder;

  @Mixin private AheadOptions ahead = new AheadOptions();
  @Mixin private CommonOptions options = new CommonOptions();
  @Mixin private WatchOptions watching = new WatchOptions();

  // ConfigFile looks for it in Picocli's model.
  @SuppressWarnings("UnusedVariable")
  @Mixin
  private ConfigOption config = new ConfigOption();

  @Mixin private Verbosity verbosity = new Verbosity();

  @Override
  public Integer call() {
    JournalAppender.useWhereStandardErrorIsTheJournals("source-agent", System.getenv());
    verbosity.applyToDaemon();
    return new DaemonRunner(SourceAgent::asRefusal).run(this::start);
  }

  private Runnable start() {
    SourceDaemon daemon =
        SourceDaemon.start(
            options.with(Path.of(""), "", new HostAndPort("localhost", 0), ahead.options()),
            new VmFolder(Optional.ofNullable(vmFolder)),
            new CommandRunner(SourceAgent::asRefusal)::toOutcome,
            watching.open(options.stateFolder()),
            System.getenv());
    return daemon::stop;
  }
}
