package dev.postcopy.dest.session;

import dev.postcopy.cli.HostAndPort;
import dev.postcopy.linux.HostFacts;
import dev.postcopy.linux.RamFile;
import dev.postcopy.linux.RamMapping;
import dev.postcopy.preflight.Checklist;
import dev.postcopy.preflight.TlsChecks;
import dev.postcopy.qmp.MemoryBackend;
import dev.postcopy.qmp.QmpClient;
import dev.postcopy.transport.EventLoops;
import dev.postcopy.transport.Transport;
import dev.postcopy.transport.tls.TlsSettings;
import io.netty.channel.Channel;
import io.netty.channel.IoEventLoopGroup;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Looks at a QEMU that waits for a guest, and its host, before the guest comes. */
public final class DestinationPreflight {

  private static final String ROOM = "room for the guest";

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
                  DestinationChecks.run(list, qmp, stateFolder)
                      .ifPresent(backends -> lookForRoom(list, qmp.peerPid(), backends));
                }
              });
      HostFacts.tmpfsHugePages()
          .ifPresent(when -> list.note("huge pages", "on tmpfs: " + when + "; any will do"));
      listen.ifPresent(address -> lookAtNetwork(list, loop, address, tls, allowFile));
    } finally {
      EventLoops.shutDown(loop);
    }
  }

  /** How much of its RAM a guest uses is not known here: too little room is a warning. */
  private static void lookForRoom(Checklist list, int pid, List<MemoryBackend> backends) {
    Map<Long, Long> neededByDevice = new HashMap<>();
    Map<Long, Long> freeByDevice = new HashMap<>();
    for (MemoryBackend backend : backends) {
      RamMapping mapping =
          RamMapping.locate(pid, backend.id(), backend.path(), backend.byteLength());
      try (RamFile file = mapping.open(false)) {
        neededByDevice.merge(
            mapping.device(), backend.byteLength() - file.allocatedBytes(), Long::sum);
        freeByDevice.put(mapping.device(), file.filesystemFreeBytes());
      }
    }
    boolean enough = true;
    for (Map.Entry<Long, Long> needed : neededByDevice.entrySet()) {
      enough &=
          warnIfLess(
              list,
              "its tmpfs",
              needed.getValue(),
              freeByDevice.getOrDefault(needed.getKey(), Long.MAX_VALUE));
    }
    long all = neededByDevice.values().stream().mapToLong(Long::longValue).sum();
    enough &= warnIfLess(list, "this host", all, HostFacts.availableBytes().orElse(Long.MAX_VALUE));
    if (enough) {
      list.hold(ROOM, "%d MiB, if it uses all of its RAM".formatted(all >> 20));
    }
  }

  private static boolean warnIfLess(Checklist list, String where, long needed, long free) {
    if (needed <= free) {
      return true;
    }
    list.warn(
        ROOM,
        "up to %d MiB are needed, %s has %d MiB free".formatted(needed >> 20, where, free >> 20),
        "make room, unless you know that the guest uses less");
    return false;
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
