package dev.postcopy.source.session;

import dev.postcopy.cli.HostAndPort;
import java.nio.file.Path;
import java.time.Duration;

/**
 * What to migrate, and where to.
 *
 * @param qmpSocket the source QEMU's QMP socket
 * @param destination where the destination agent listens
 * @param connectTimeout how long to try while nobody listens there
 */
public record MigrateOptions(Path qmpSocket, HostAndPort destination, Duration connectTimeout) {}
