package dev.postcopy.dest.session;

import dev.postcopy.cli.HostAndPort;
import java.nio.file.Path;

/**
 * Which QEMU takes a guest in, and where the source finds us.
 *
 * @param qmpSocket the destination QEMU's QMP socket
 * @param listen port 0: the system chooses
 */
public record ReceiveOptions(Path qmpSocket, HostAndPort listen) {}
