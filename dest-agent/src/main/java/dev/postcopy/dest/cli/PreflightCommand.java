package dev.postcopy.dest.cli;

import dev.postcopy.cli.ChecklistPrinter;
import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.JsonOption;
import dev.postcopy.cli.StateFolderOption;
import dev.postcopy.cli.TlsOptions;
import dev.postcopy.cli.Verbosity;
import dev.postcopy.dest.session.DestinationPreflight;
import dev.postcopy.preflight.Checklist;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code dest-agent preflight}: could a guest come here? */
@Command(
    name = "preflight",
    description = {
      "Looks whether a QEMU can take a guest in, and touches nothing.",
      "The QEMU was started with -incoming defer. Prints a line for each check: ✓ it "
          + "holds, ✗ it does not, ! it may not for long, – good to know. Exit code 0 when all "
          + "hold, else 2."
    },
    mixinStandardHelpOptions = true)
final class PreflightCommand implements Callable<Integer> {

  @Option(
      names = "--qmp",
      required = true,
      paramLabel = "SOCKET",
      description = "The QMP unix socket of the QEMU that is to take the guest in.")
  private Path qmp = Path.of("");

  @Option(
      names = "--listen",
      paramLabel = "HOST:PORT",
      converter = HostAndPort.Converter.class,
      description = "Where the agent is to listen; nobody may listen there now.")
  private @Nullable HostAndPort listen;

  @Option(
      names = "--allow",
      paramLabel = "FILE",
      description = "The list of who may send which VM to this host.")
  private @Nullable Path allowFile;

  @Mixin private StateFolderOption state = new StateFolderOption();

  @Mixin private JsonOption output = new JsonOption();

  @Mixin private TlsOptions tls = new TlsOptions();

  @Mixin private Verbosity verbosity = new Verbosity();

  @Override
  public Integer call() {
    verbosity.apply();
    Checklist list = Checklist.collecting(DestAgent::asRefusal);
    DestinationPreflight.run(
        list,
        qmp,
        state.folder(),
        Optional.ofNullable(listen),
        tls.toSettings(),
        Optional.ofNullable(allowFile));
    return ChecklistPrinter.print(list, output.json());
  }
}
