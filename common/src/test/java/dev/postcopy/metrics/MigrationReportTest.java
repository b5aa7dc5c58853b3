package dev.postcopy.metrics;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.metrics.MigrationReport.FaultLatency;
import dev.postcopy.metrics.MigrationReport.PageCounts;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;

class MigrationReportTest {

  private static final ObjectMapper JSON = new ObjectMapper();

  /** Scripts read these names: changing one breaks them. */
  @Test
  void writesOneLineWithTheNamesThatScriptsRead() {
    MigrationReport report =
        new MigrationReport(
            "completed",
            "",
            12_345,
            6_700_000,
            new FaultLatency(42, 220, 400, 650, 1300),
            new PageCounts(40, 5000, 60_000, 2),
            21_000_000_000L);

    assertThat(report.toJson())
        .isEqualTo(
            "{\"status\":\"completed\",\"downtime_ms\":12.345,\"total_ms\":6700.0,\"faults\":42,"
                + "\"fault_latency_us\":{\"p50\":220,\"p90\":400,\"p99\":650,\"max\":1300},"
                + "\"pages\":{\"demand\":40,\"pushed\":5000,\"zero\":60000,\"duplicate\":2},"
                + "\"bytes_sent\":21000000000}");
  }

  @Test
  void givesTheReasonOfWhatDidNotComplete() {
    JsonNode json = JSON.readTree(MigrationReport.without("refused", "a; b").toJson());

    assertThat(json.path("status").asString()).isEqualTo("refused");
    assertThat(json.path("reason").asString()).isEqualTo("a; b");
    assertThat(json.path("downtime_ms").asDouble()).isZero();
    assertThat(json.path("pages").path("demand").asInt()).isZero();
    assertThat(json.path("bytes_sent").asLong()).isZero();
  }

  @Test
  void staysOneLineOfJsonWhateverTheReasonHolds() {
    String reason = "quote \" backslash \\ newline \n tab \t escape \u001b";

    String line = MigrationReport.without("failed", reason).toJson();

    assertThat(line.chars()).as("control characters in the line").noneMatch(c -> c < ' ');
    assertThat(JSON.readTree(line).path("reason").asString()).isEqualTo(reason);
  }
}
