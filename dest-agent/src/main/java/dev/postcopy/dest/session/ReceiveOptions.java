package dev.postcopy.dest.session;

import dev.postcopy.cli.HostAndPort;
import java.nio.file.Path;
import java.time.Duration;

/**
 * Which QEMU takes a guest in, and where the source finds us.
 *
 * @param qmpSocket the destination QEMU's QMP socket
 * @param stateFolder where the journal is kept
 * @param peerPatience how long the source may be silent before the connection is given up
 * @param listen port 0: the system chooses
 */
public record ReceiveOptions(
    Path qmpSocket, HostAndPort listen, Path stateFolder, Duration peerPatience) {

  /** The same for another QEMU. */
  ReceiveOptions of(Path socket) {
    return new ReceiveOptions(socket, listen, stateFolder, peerPatience);
  }
}
