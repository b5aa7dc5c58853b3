package dev.postcopy.dest.cli;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.TlsOptions;
import dev.postcopy.dest.session.ReceiveOptions;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import picocli.CommandLine.Spec.Target;

/** What {@code receive} and {@code resume} both take. */
final class CommonOptions {

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
      names = "--state-dir",
      paramLabel = "FOLDER",
      defaultValue = "/run/postcopy",
      description = "Where the journal is kept (default: ${DEFAULT-VALUE}).")
  private Path stateFolder = Path.of("");

  @Option(
      names = "--peer-timeout",
      paramLabel = "SECONDS",
      defaultValue = "5",
      description = {
        "How long the source may give no sign of life before the connection is given up",
        "(default: ${DEFAULT-VALUE}); once QEMU has loaded the guest another one is waited for."
      })
  private int peerTimeoutSeconds;

  @Option(
      names = "--json",
      description = "Print the report as one JSON object, the last line on standard output.")
  private boolean json;

  @Option(
      names = "--allow",
      paramLabel = "FILE",
      description = {
        "Who may send which VM to this host: lines of CERTIFICATE-NAME VM-NAME, with * for any",
        "characters. Without it whoever has a certificate of ca.pem may send any VM."
      })
  private @Nullable Path allowFile;

  @Mixin private TlsOptions tls = new TlsOptions();

  @Spec(Target.MIXEE)
  private CommandSpec spec = CommandSpec.create();

  boolean json() {
    return json;
  }

  ReceiveOptions toOptions() {
    if (peerTimeoutSeconds <= 0) {
      throw new ParameterException(
          spec.commandLine(), "--peer-timeout takes seconds, not " + peerTimeoutSeconds);
    }
    return new ReceiveOptions(
        qmp,
        listen,
        stateFolder,
        Duration.ofSeconds(peerTimeoutSeconds),
        tls.toSettings(),
        Optional.ofNullable(allowFile));
  }

  /** Scripts wait for this line. */
  static void sayWhere(InetSocketAddress address) {
    System.out.println(
        "listening on "
            + new HostAndPort(address.getAddress().getHostAddress(), address.getPort()));
  }
}
