package dev.postcopy.source.cli;

import dev.postcopy.cli.Bandwidth;
import dev.postcopy.cli.DaemonSocket;
import dev.postcopy.source.session.Commands;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

/** {@code source-agent set-max-bandwidth}: for a migration that is under way. */
@Command(
    name = "set-max-bandwidth",
    description = "Changes what pages that nobody waits for may use of the link.",
    mixinStandardHelpOptions = true)
class SetMaxBandwidthCommand implements Callable<Integer> {

  @Parameters(
      index = "0",
      paramLabel = "RATE",
      converter = Bandwidth.Converter.class,
      description = "Bytes a second, like 100M, or unlimited.")
  private Bandwidth rate = Bandwidth.UNLIMITED;

  @Mixin private VmOrMonitor migration = new VmOrMonitor();

  @Override
  public Integer call() {
    return migration.tell(
        DaemonSocket.request(Commands.MAX_BANDWIDTH)
            .put(Commands.BYTES_PER_SECOND, rate.bytesPerSecond()));
  }
}
