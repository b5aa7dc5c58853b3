package dev.postcopy.source.cli;

import dev.postcopy.cli.ChecklistPrinter;
import dev.postcopy.cli.JsonOption;
import dev.postcopy.cli.StateFolderOption;
import dev.postcopy.cli.TlsOptions;
import dev.postcopy.cli.Verbosity;
import dev.postcopy.preflight.Checklist;
import dev.postcopy.source.session.SourcePreflight;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code source-agent preflight}: could this guest move? */
@Command(
    name = "preflight",
    description = {
      "Looks whether the guest of a QEMU can move, and touches nothing.",
      "Prints a line for each check: ✓ it holds, ✗ it does not, ! it may not for long, – "
          + "good to know. Exit code 0 when all hold, else 2. A destination that is named with "
          + "--to is asked whether the guest may come, and compared clocks with; its agent has "
          + "to listen already, and no migration is begun there."
    },
    mixinStandardHelpOptions = true)
final class PreflightCommand implements Callable<Integer> {

  @Parameters(
      arity = "0..1",
      paramLabel = "VM",
      defaultValue = "",
      description = "The name by which the destination knows the guest: it is asked about it.")
  private String vm = "";

  @Option(
      names = "--qmp",
      required = true,
      paramLabel = "SOCKET",
      description = "The QMP unix socket of the QEMU whose guest is to move.")
  private Path qmp = Path.of("");

  @Mixin private DestinationOption to = new DestinationOption();

  @Option(
      names = "--tls-name",
      paramLabel = "NAME",
      description = "The alternative name that its certificate must have (default: the host).")
  private @Nullable String tlsName;

  @Mixin private StateFolderOption state = new StateFolderOption();

  @Mixin private JsonOption output = new JsonOption();

  @Mixin private TlsOptions tls = new TlsOptions();

  @Mixin private Verbosity verbosity = new Verbosity();

  @Override
  public Integer call() {
    verbosity.apply();
    Checklist list = Checklist.collecting(SourceAgent::asRefusal);
    SourcePreflight.run(
        list,
        qmp,
        state.folder(),
        to.isGiven() ? Optional.of(to.address()) : Optional.empty(),
        tls.toSettings(),
        Optional.ofNullable(tlsName),
        vm);
    return ChecklistPrinter.print(list, output.json());
  }
}
