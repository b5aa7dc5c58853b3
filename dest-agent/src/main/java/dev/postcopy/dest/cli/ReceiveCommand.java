package dev.postcopy.dest.cli;

import dev.postcopy.dest.session.ReceiveSession;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** {@code dest-agent receive}: one guest, from there to here. */
@Command(
    name = "receive",
    description = {
      "Takes one guest into a QEMU that was started with -incoming defer.",
      "Exits when the guest runs here and all of its memory is here."
    },
    mixinStandardHelpOptions = true)
final class ReceiveCommand implements Callable<Integer> {

  @Mixin private OneGuest guest = new OneGuest();

  @Override
  public Integer call() {
    return guest.run(options -> new ReceiveSession(options, CommonOptions::sayWhere));
  }
}
