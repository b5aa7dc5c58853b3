package dev.postcopy.source.session;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.source.page.BackgroundPusher.PushOrder;
import dev.postcopy.source.page.BandwidthLimit;
import dev.postcopy.source.page.BulkWindow;
import dev.postcopy.transport.tls.TlsSettings;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * What to migrate, and where to.
 *
 * @param qmpSocket the source QEMU's QMP socket
 * @param vm the name by which the destination knows the guest; empty where it needs none
 * @param destination where the destination agent listens
 * @param stateFolder where the journal is kept
 * @param connectTimeout how long to try while nobody listens there
 * @param peerPatience how long the destination may be silent before the connection is given up
 * @param maxBulkBytesPerSecond what bulk may use of the link; Long.MAX_VALUE: all
 * @param bulkWindowBytes a fixed window instead of one that finds its size, for measurements
 * @param pushOrder where the push goes on
 * @param tls how the connection is protected
 * @param tlsName which the destination's certificate must have; empty: the name of its host
 * @param precopy what goes ahead while the guest runs
 */
public record MigrateOptions(
    Path qmpSocket,
    String vm,
    HostAndPort destination,
    Path stateFolder,
    Duration connectTimeout,
    Duration peerPatience,
    long maxBulkBytesPerSecond,
    OptionalLong bulkWindowBytes,
    PushOrder pushOrder,
    TlsSettings tls,
    Optional<String> tlsName,
    PrecopyOptions precopy) {

  /** The same for another guest, and another destination. */
  public MigrateOptions of(
      Path socket, String name, HostAndPort to, long maxBytesPerSecond, PrecopyOptions ahead) {
    return new MigrateOptions(
        socket,
        name,
        to,
        stateFolder,
        connectTimeout,
        peerPatience,
        maxBytesPerSecond,
        bulkWindowBytes,
        pushOrder,
        tls,
        tlsName,
        ahead);
  }

  /** A window for one migration. */
  BulkWindow window() {
    return bulkWindowBytes.isPresent()
        ? BulkWindow.fixed(bulkWindowBytes.getAsLong())
        : BulkWindow.adaptive();
  }

  /** A limit for one migration. */
  BandwidthLimit limit() {
    return new BandwidthLimit(maxBulkBytesPerSecond);
  }
}
