package dev.postcopy.metrics;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.metrics.MigrationReport.FaultLatency;
import dev.postcopy.metrics.MigrationReport.PageCounts;
import dev.postcopy.metrics.MigrationReport.Precopy;
import dev.postcopy.metrics.MigrationReport.Round;
import java.util.List;
import java.util.Optional;
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
            new FaultLatency(42, 220, 400, 650, 1300, 700),
            new PageCounts(40, 5000, 60_000, 2),
            21_000_000_000L,
            Optional.empty());

    assertThat(report.toJson())
        .isEqualTo(
            "{\"status\":\"completed\",\"downtime_ms\":12.345,\"total_ms\":6700.0,\"faults\":42,"
                + "\"fault_latency_us\":{\"p50\":220,\"p90\":400,\"p99\":650,\"max\":1300,"
                + "\"p99_of_first_100\":700},"
                + "\"pages\":{\"demand\":40,\"pushed\":5000,\"zero\":60000,\"duplicate\":2},"
                + "\"bytes_sent\":21000000000}");
  }

  @Test
  void saysWhatWentAheadWhereSomethingDid() {
    MigrationReport report =
        new MigrationReport(
            "completed",
            "",
            1,
            2,
            FaultLatency.NONE,
            PageCounts.NONE,
            30,
            Optional.of(
                new Precopy(List.of(new Round(1, 16, 2500, 90), new Round(2, 4, 500, 3)), 20, 5)));

    assertThat(report.toNode().path("precopy").toString())
        .isEqualTo(
            "{\"rounds\":[{\"number\":1,\"bytes\":16,\"ms\":2.5,\"pages_written\":90},"
                + "{\"number\":2,\"bytes\":4,\"ms\":0.5,\"pages_written\":3}],"
                + "\"bytes_ahead\":20,\"pages_taken_back_at_stop\":5}");
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
