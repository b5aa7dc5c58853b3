package dev.postcopy.dest.cli;

import dev.postcopy.dest.session.ResumeSession;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** {@code dest-agent resume}: a migration whose agent died, from where its journal says. */
@Command(
    name = "resume",
    description = {
      "Takes a migration up whose destination agent died.",
      "The guest has waited for what was not here; the source agent connects again by "
          + "itself, or with its own resume."
    },
    mixinStandardHelpOptions = true)
final class ResumeCommand implements Callable<Integer> {

  @Mixin private OneGuest guest = new OneGuest();

  @Override
  public Integer call() {
    return guest.run(options -> new ResumeSession(options, CommonOptions::sayWhere));
  }
}
