package dev.postcopy.source.cli;

import dev.postcopy.cli.Bandwidth;
import dev.postcopy.cli.DaemonSocket;
import dev.postcopy.source.session.Commands;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

/** {@code source-agent set max-bandwidth}: for a migration that is under way. */
@Command(
    name = "max-bandwidth",
    description = "Changes what pages that nobody waits for may use of the link.",
    mixinStandardHelpOptions = true)
final class MaxBandwidthCommand implements Callable<Integer> {

  @Parameters(
      index = "0",
      paramLabel = "RATE",
      converter = Bandwidth.Converter.class,
      description = "Bytes a second, like 100M, or unlimited.")
  private Bandwidth rate = Bandwidth.UNLIMITED;

  @Parameters(
      index = "1",
      arity = "0..1",
      paramLabel = "VM",
      description = "The VM's name, or the path of its QMP socket.")
  private @Nullable String vm;

  @Mixin private Recipient recipient = new Recipient();
  @Mixin private DaemonSocket daemon = new DaemonSocket();

  @Override
  public Integer call() {
    return recipient.tell(
        vm,
        daemon,
        DaemonSocket.request(Commands.MAX_BANDWIDTH)
            .put(Commands.BYTES_PER_SECOND, rate.bytesPerSecond()));
  }
}
