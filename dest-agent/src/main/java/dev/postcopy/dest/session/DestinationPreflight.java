package dev.postcopy.dest.session;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.linux.HostFacts;
import dev.postcopy.preflight.Checklist;
import dev.postcopy.preflight.TlsChecks;
import dev.postcopy.qmp.QmpClient;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.Transport;
import dev.postcopy.transport.tls.TlsSettings;
import io.netty.channel.Channel;
import io.netty.channel.IoEventLoopGroup;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.Optional;

/** Looks at a QEMU that waits for a guest, and its host, before the guest comes. */
public final class DestinationPreflight {

  private DestinationPreflight() {}

  /**
   * Runs all checks.
   *
   * @param qmpSocket of the QEMU that waits
   * @param listen where an agent is to listen; empty: not looked at
   * @param allowFile as in {@link ReceiveOptions}
   */
  public static void run(
      Checklist list,
      Path qmpSocket,
      Path stateFolder,
      Optional<HostAndPort> listen,
      TlsSettings tls,
      Optional<Path> allowFile) {
    IoEventLoopGroup loop = EventLoops.named("preflight", 1);
    try {
      list.require(
              "monitor",
              () -> QmpClient.connect(loop, qmpSocket),
              found -> "QEMU, pid " + found.peerPid())
          .ifPresent(
              qmp -> {
                try (qmp) {
                  var _ = DestinationChecks.run(list, qmp, stateFolder);
                }
              });
      HostFacts.tmpfsHugePages().ifPresent(when -> list.note("huge pages", "on tmpfs: " + when));
      listen.ifPresent(address -> lookAtNetwork(list, loop, address, tls, allowFile));
    } finally {
      EventLoops.shutDown(loop);
    }
  }

  private static void lookAtNetwork(
      Checklist list,
      IoEventLoopGroup loop,
      HostAndPort address,
      TlsSettings tls,
      Optional<Path> allowFile) {
    TlsChecks.own(list, () -> tls.listening(address))
        .ifPresent(
            own ->
                allowFile.ifPresent(
                    file ->
                        list.require(
                            "allow-list",
                            () -> {
                              var _ = Admission.of(own, Optional.of(file));
                            },
                            "can be used")));
    list.require("port", () -> listenOnce(loop, address), found -> "free at " + found);
  }

  private static InetSocketAddress listenOnce(IoEventLoopGroup loop, HostAndPort address) {
    Channel listening =
        Transport.listen(loop, loop, address, Optional.empty(), made -> cause -> {});
    InetSocketAddress found = Transport.localAddress(listening);
    listening.close().awaitUninterruptibly();
    return found;
  }
}
