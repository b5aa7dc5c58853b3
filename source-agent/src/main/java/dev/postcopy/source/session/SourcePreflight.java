package dev.postcopy.source.session;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.linux.HostFacts;
import dev.postcopy.preflight.Checklist;
import dev.postcopy.preflight.TlsChecks;
import dev.postcopy.qmp.Qemu;
import dev.postcopy.qmp.QmpClient;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.tls.TlsSettings;
import io.netty.channel.IoEventLoopGroup;
import java.nio.file.Path;
import java.util.Optional;

/** Looks at a guest, its host and the way to another one, before anybody wants to move it. */
public final class SourcePreflight {

  private SourcePreflight() {}

  /**
   * Runs all checks.
   *
   * @param qmpSocket of the QEMU whose guest is to move
   * @param destination where a destination agent listens; empty: the way is not looked at
   * @param tlsName as in {@link MigrateOptions}
   * @param vm the name by which the destination knows the guest; empty: it is not asked about
   */
  public static void run(
      Checklist list,
      Path qmpSocket,
      Path stateFolder,
      Optional<HostAndPort> destination,
      TlsSettings tls,
      Optional<String> tlsName,
      String vm) {
    IoEventLoopGroup loop = EventLoops.named("preflight", 1);
    try {
      list.require(
              "monitor",
              () -> QmpClient.connect(loop, qmpSocket),
              found -> "QEMU, pid " + found.peerPid())
          .ifPresent(
              qmp -> {
                try (qmp) {
                  SourceChecks.run(list, qmp, stateFolder)
                      .ifPresent(fit -> lookAtPrecopy(list, qmp));
                }
              });
      HostFacts.tmpfsHugePages()
          .ifPresent(when -> list.note("huge pages", "on tmpfs: " + when + "; any will do"));
      destination.ifPresent(
          address ->
              TlsChecks.own(list, () -> tls.connecting(address, tlsName))
                  .ifPresent(own -> TlsChecks.destination(list, loop, address, own, vm)));
    } finally {
      EventLoops.shutDown(loop);
    }
  }

  /** A guest moves without it. */
  private static void lookAtPrecopy(Checklist list, QmpClient qmp) {
    SourceChecks.whyNoPrecopy(new Qemu(qmp), qmp.peerPid())
        .ifPresentOrElse(
            why -> list.warn("memory that goes ahead", why, "migrate without --precopy"),
            () -> list.hold("memory that goes ahead", "--precopy can be used"));
  }
}
