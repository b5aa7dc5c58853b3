package dev.postcopy.source.cli;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.DaemonSocket;
import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.JsonOption;
import dev.postcopy.cli.LiveView;
import dev.postcopy.cli.Verbosity;
import dev.postcopy.cli.WatchOptions;
import dev.postcopy.journal.Journal;
import dev.postcopy.journal.SourceEntry;
import dev.postcopy.source.session.Commands;
import dev.postcopy.source.session.PrecopyOptions;
import dev.postcopy.source.session.ResumeSession;
import dev.postcopy.source.session.SourceDaemon;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;
import tools.jackson.databind.node.ObjectNode;

/** {@code source-agent resume}: a migration whose agent died, from where its journal says. */
@Command(
    name = "resume",
    description = {
      "Takes a migration up whose source agent died.",
      "Before the commit the guest is set going here again; after it the rest of its "
          + "memory is sent to the destination.",
      "With the name of a VM the agent that serves does it, otherwise this process."
    },
    mixinStandardHelpOptions = true)
final class ResumeCommand implements Callable<Integer> {

  @Parameters(
      arity = "0..1",
      paramLabel = "VM",
      description = "The VM's name, or the path of its QMP socket.")
  private @Nullable String vm;

  @Option(
      names = "--qmp",
      paramLabel = "SOCKET",
      description = "Which migration, where there are several: that of this QEMU.")
  private @Nullable Path qmp;

  @Option(names = "--detach", description = "Only have it taken up; with VM.")
  private boolean detach;

  @Mixin private DestinationOption to = new DestinationOption();
  @Mixin private CommonOptions options = new CommonOptions();
  @Mixin private JsonOption output = new JsonOption();
  @Mixin private WatchOptions watching = new WatchOptions();
  @Mixin private Verbosity verbosity = new Verbosity();

  @Spec private CommandSpec spec = CommandSpec.create();

  @Override
  public Integer call() {
    verbosity.apply();
    if (vm == null) {
      return here();
    }
    ObjectNode request = DaemonSocket.request(SourceDaemon.RESUME, vm);
    if (to.isGiven()) {
      request.put(SourceDaemon.TO, to.address().toString());
    }
    if (isLimitGiven()) {
      request.put(Commands.BYTES_PER_SECOND, options.maxBandwidth().bytesPerSecond());
    }
    return DaemonMigration.run(spec, options.stateFolder(), request, detach, output.json());
  }

  private boolean isLimitGiven() {
    return spec.commandLine().getParseResult().hasMatchedOption("--max-bandwidth");
  }

  private int here() {
    Optional<HostAndPort> moved = to.isGiven() ? Optional.of(to.address()) : Optional.empty();
    CompletableFuture<ResumeSession> session = new CompletableFuture<>();
    return new CommandRunner(SourceAgent::asRefusal)
        .run(
            output.json(),
            () -> session.thenAccept(ResumeSession::cancel),
            () -> {
              Journal<SourceEntry> left =
                  ResumeSession.choose(options.stateFolder(), Optional.ofNullable(qmp));
              SourceEntry entry = left.read();
              ResumeSession chosen = take(left, entry, moved);
              session.complete(chosen);
              return watching.watch(
                  options.stateFolder(),
                  chosen.view(entry.vmName()),
                  () -> new LiveView(System.err).during(chosen));
            });
  }

  private ResumeSession take(
      Journal<SourceEntry> left, SourceEntry entry, Optional<HostAndPort> moved) {
    Path socket = Path.of(entry.vm().qmpSocket());
    HostAndPort destination = moved.orElseGet(() -> HostAndPort.parse(entry.destination()));
    long maxBytesPerSecond =
        isLimitGiven() ? options.maxBandwidth().bytesPerSecond() : entry.maxBulkBytesPerSecond();
    return new ResumeSession(
        options
            .with(socket, entry.vmName(), destination, PrecopyOptions.OFF)
            .of(socket, entry.vmName(), destination, maxBytesPerSecond, PrecopyOptions.OFF),
        left,
        Commands.ofOneSession(options.stateFolder()));
  }
}
