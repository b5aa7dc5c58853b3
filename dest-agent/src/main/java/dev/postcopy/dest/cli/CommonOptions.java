package dev.postcopy.dest.cli;

import dev.postcopy.cli.AgentOptions;
import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.TlsOptions;
import dev.postcopy.dest.session.ReceiveOptions;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** What {@code receive}, {@code resume} and {@code serve} all take. */
final class CommonOptions {

  @Option(
      names = "--listen",
      required = true,
      paramLabel = "HOST:PORT",
      converter = HostAndPort.Converter.class,
      description = "Where to listen for source agents; port 0 lets the system choose.")
  private HostAndPort listen = new HostAndPort("localhost", 0);

  @Mixin private AgentOptions agent = new AgentOptions();

  @Option(
      names = "--allow",
      paramLabel = "FILE",
      description = {
        "Who may send which VM to this host: lines of CERTIFICATE-NAME VM-NAME, with * for any",
        "characters. Without it whoever has a certificate of ca.pem may send any VM."
      })
  private @Nullable Path allowFile;

  @Mixin private TlsOptions tls = new TlsOptions();

  Path stateFolder() {
    return agent.stateFolder();
  }

  /**
   * @param qmp the destination QEMU's QMP socket
   */
  ReceiveOptions with(Path qmp) {
    return new ReceiveOptions(
        qmp,
        listen,
        agent.stateFolder(),
        agent.peerPatience(),
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
