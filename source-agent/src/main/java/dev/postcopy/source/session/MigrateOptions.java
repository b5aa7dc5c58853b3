package dev.postcopy.source.session;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.source.page.BackgroundPusher.PushOrder;
import java.nio.file.Path;
import java.time.Duration;
import java.util.OptionalLong;

/**
 * What to migrate, and where to.
 *
 * @param qmpSocket the source QEMU's QMP socket
 * @param destination where the destination agent listens
 * @param connectTimeout how long to try while nobody listens there
 * @param maxBulkBytesPerSecond what bulk may use of the link; Long.MAX_VALUE: all
 * @param bulkWindowBytes a fixed window instead of one that finds its size, for measurements
 * @param pushOrder where the push goes on
 */
public record MigrateOptions(
    Path qmpSocket,
    HostAndPort destination,
    Duration connectTimeout,
    long maxBulkBytesPerSecond,
    OptionalLong bulkWindowBytes,
    PushOrder pushOrder) {}
