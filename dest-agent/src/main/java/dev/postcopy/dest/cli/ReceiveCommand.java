package dev.postcopy.dest.cli;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import dev.postcopy.cli.Verbosity;
import dev.postcopy.dest.session.ReceiveOptions;
import dev.postcopy.dest.session.ReceiveSession;
import dev.postcopy.linux.HostRefusal;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
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

  @Option(
      names = "--listen",
      required = true,
      paramLabel = "HOST:PORT",
      converter = HostAndPort.Converter.class,
      description = "Where to listen for the source agent; port 0 lets the system choose.")
  private HostAndPort listen = new HostAndPort("localhost", 0);

  @Option(
      names = "--json",
      description = "Print the report as one JSON object, the last line on standard output.")
  private boolean json;

  @Mixin private Verbosity verbosity = new Verbosity();

  @Override
  public Integer call() {
    verbosity.apply();
    ReceiveSession session =
        new ReceiveSession(new ReceiveOptions(qmp, listen), ReceiveCommand::sayWhere);
    return new CommandRunner(ReceiveCommand::asRefusal).run(json, session::cancel, session::run);
  }

  private static void sayWhere(InetSocketAddress address) {
    System.out.println(
        "listening on "
            + new HostAndPort(address.getAddress().getHostAddress(), address.getPort()));
  }

  private static @Nullable Refusal asRefusal(RuntimeException thrown) {
    return thrown instanceof HostRefusal host ? new Refusal(host.reason(), host.remedy()) : null;
  }
}
