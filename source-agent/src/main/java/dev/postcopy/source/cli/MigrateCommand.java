package dev.postcopy.source.cli;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.DaemonSocket;
import dev.postcopy.cli.JsonOption;
import dev.postcopy.cli.LiveView;
import dev.postcopy.cli.Verbosity;
import dev.postcopy.cli.WatchOptions;
import dev.postcopy.daemon.VmFolder;
import dev.postcopy.source.session.Commands;
import dev.postcopy.source.session.MigrateSession;
import dev.postcopy.source.session.SourceDaemon;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;
import tools.jackson.databind.node.ObjectNode;

/** {@code source-agent migrate}: one guest, from here to there. */
@Command(
    name = "migrate",
    description = {
      "Migrates a guest; exits when the destination has everything.",
      "With --qmp this process does it. Otherwise the agent that serves does it: what",
      "is not said here is as that agent was told, and this process shows how far it",
      "is. Ctrl-C ends the view, not the migration."
    },
    mixinStandardHelpOptions = true)
final class MigrateCommand implements Callable<Integer> {

  @Parameters(
      arity = "0..1",
      paramLabel = "VM",
      description = {
        "The VM's name, or the path of its QMP socket. With --qmp only the name by which the",
        "destination knows it."
      })
  private @Nullable String vm;

  @Option(
      names = "--qmp",
      paramLabel = "SOCKET",
      description = "The QMP unix socket of the QEMU whose guest is to move, without a daemon.")
  private @Nullable Path qmp;

  @Option(names = "--detach", description = "Only have it begun; without --qmp.")
  private boolean detach;

  @Mixin private DestinationOption to = new DestinationOption();

  @Mixin private AheadOptions ahead = new AheadOptions();

  @Mixin private CommonOptions options = new CommonOptions();
  @Mixin private JsonOption output = new JsonOption();
  @Mixin private WatchOptions watching = new WatchOptions();
  @Mixin private Verbosity verbosity = new Verbosity();

  @Spec private CommandSpec spec = CommandSpec.create();

  @Override
  public Integer call() {
    verbosity.apply();
    if (qmp != null) {
      return here(qmp);
    }
    if (vm == null) {
      throw new ParameterException(spec.commandLine(), "name the VM, or its socket with --qmp");
    }
    ObjectNode request =
        DaemonSocket.request(SourceDaemon.MIGRATE, vm)
            .put(SourceDaemon.TO, to.address().toString());
    if (spec.commandLine().getParseResult().hasMatchedOption("--max-bandwidth")) {
      request.put(Commands.BYTES_PER_SECOND, options.maxBandwidth().bytesPerSecond());
    }
    ahead.putGiven(request);
    return DaemonMigration.run(spec, options.stateFolder(), request, detach, output.json());
  }

  private int here(Path socket) {
    if (detach) {
      throw new ParameterException(spec.commandLine(), "--detach and --qmp exclude each other");
    }
    MigrateSession session =
        new MigrateSession(
            options.with(
                socket, vm == null ? "" : VmFolder.requireName(vm), to.address(), ahead.options()),
            Commands.ofOneSession(options.stateFolder()));
    LiveView view = new LiveView(System.err);
    return new CommandRunner(SourceAgent::asRefusal)
        .run(
            output.json(),
            session::cancel,
            () ->
                watching.watch(
                    options.stateFolder(),
                    session.view(vm == null ? String.valueOf(socket.getFileName()) : vm),
                    () -> view.during(session)));
  }
}
