package dev.postcopy.dest.session;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import dev.postcopy.preflight.Checklist;
import dev.postcopy.preflight.TlsChecks;
import dev.postcopy.transport.tls.TlsEndpoint;
import dev.postcopy.transport.tls.TlsSettings;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;

/**
 * Which QEMU takes a guest in, and where the source finds us.
 *
 * @param qmpSocket the destination QEMU's QMP socket
 * @param stateFolder where the journal is kept
 * @param peerPatience how long the source may be silent before the connection is given up
 * @param listen port 0: the system chooses
 * @param tls how connections are protected
 * @param allowFile who may send which VM; empty: whoever can connect, any
 */
public record ReceiveOptions(
    Path qmpSocket,
    HostAndPort listen,
    Path stateFolder,
    Duration peerPatience,
    TlsSettings tls,
    Optional<Path> allowFile) {

  /**
   * Who may send what here.
   *
   * @throws Refusal where certificates or the list are needed and are not there, or cannot be used
   */
  Admission admission() {
    Optional<TlsEndpoint> own = tls.listening(listen);
    TlsChecks.ownDates(Checklist.strict(), own);
    return Admission.of(own, allowFile);
  }

  /** The same for another QEMU. */
  ReceiveOptions of(Path socket) {
    return new ReceiveOptions(socket, listen, stateFolder, peerPatience, tls, allowFile);
  }
}
