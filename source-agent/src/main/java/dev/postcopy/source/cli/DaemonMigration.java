package dev.postcopy.source.cli;

import dev.postcopy.cli.CommandRunner;
import dev.postcopy.cli.DaemonSocket;
import dev.postcopy.cli.ExitCode;
import dev.postcopy.cli.LiveView;
import dev.postcopy.cli.Refusal;
import dev.postcopy.control.ControlClient;
import dev.postcopy.metrics.MigrationReport;
import dev.postcopy.metrics.Outcome;
import dev.postcopy.source.session.SourceDaemon;
import java.nio.file.Path;
import java.util.Set;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.ParameterException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * A migration that the agent that serves carries out; this process only asks for it and watches.
 */
final class DaemonMigration {

  /** All others are the serving agent's to know. */
  private static final Set<String> OPTIONS =
      Set.of(
          "--to",
          "--max-bandwidth",
          "--precopy",
          "--downtime-limit",
          "--state-dir",
          "--json",
          "--detach",
          "--verbose");

  private DaemonMigration() {}

  /**
   * Has a migration begun, and waits for its end.
   *
   * @param detach does not wait
   * @return the exit code that a migration of this process would have
   */
  static int run(
      CommandSpec spec, Path stateFolder, ObjectNode request, boolean detach, boolean json) {
    for (OptionSpec given : spec.commandLine().getParseResult().matchedOptions()) {
      if (!OPTIONS.contains(given.longestName())) {
        throw new ParameterException(
            spec.commandLine(),
            given.longestName() + " is for --qmp; give it to 'source-agent serve'");
      }
    }
    try {
      return ask(spec, stateFolder, request.put(SourceDaemon.FOLLOW, !detach), json);
    } catch (Refusal e) {
      return CommandRunner.tell(
          new Outcome(ExitCode.REFUSED, MigrationReport.without("refused", e.getMessage())), json);
    }
  }

  private static int ask(CommandSpec spec, Path stateFolder, ObjectNode request, boolean json) {
    try (ControlClient client = DaemonSocket.ask(spec, stateFolder, request)) {
      if (!request.path(SourceDaemon.FOLLOW).asBoolean()) {
        client.only();
        return ExitCode.COMPLETED.code();
      }
      LiveView view = new LiveView(System.err);
      JsonNode end =
          view.follow(
              client::next,
              "the migration goes on; look with source-agent status %s --follow"
                  .formatted(request.path("vm").asString()));
      if (end == null) {
        // Whatever it was doing is in its journal, and a commit may be too.
        return CommandRunner.tell(
            new Outcome(
                ExitCode.INCOMPLETE_AT_DESTINATION,
                MigrationReport.without(
                    "incomplete",
                    "the agent that serves has ended, and the guest may be at the destination; the"
                        + " migration may go on when the agent is started again: ask with source-agent"
                        + " status, or resume")),
            json);
      }
      view.showEnd(end);
      JsonNode report = end.path("report");
      int exitCode = end.path("exit_code").asInt();
      if (exitCode != ExitCode.COMPLETED.code()) {
        System.err.println(
            report.path("status").asString() + ": " + report.path("reason").asString());
      }
      if (json) {
        System.out.println(report);
      }
      return exitCode;
    }
  }
}
