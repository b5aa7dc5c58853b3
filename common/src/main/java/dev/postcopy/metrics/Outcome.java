package dev.postcopy.metrics;

import dev.postcopy.cli.ExitCode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** How a command ended: for the shell, and for whoever reads the report. */
public record Outcome(ExitCode exitCode, MigrationReport report) {

  /** What the status of a migration has of its end. */
  public ObjectNode toNode() {
    ObjectNode json =
        JsonNodeFactory.instance.objectNode().put("ended", true).put("exit_code", exitCode.code());
    json.set("report", report.toNode());
    return json;
  }
}
