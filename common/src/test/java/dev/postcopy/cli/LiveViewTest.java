package dev.postcopy.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.metrics.MigrationReport;
import dev.postcopy.metrics.MigrationReport.FaultLatency;
import dev.postcopy.metrics.MigrationReport.PageCounts;
import dev.postcopy.metrics.Outcome;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

class LiveViewTest {

  private static ObjectNode status(String vm, String phase, long faults) {
    return JsonNodeFactory.instance
        .objectNode()
        .put("vm", vm)
        .put("phase", phase)
        .put("all_pages", 1000)
        .put("done_pages", 250)
        .put("bytes_per_second", 105 << 20)
        .put("faults", faults)
        .put("faults_per_second", faults)
        .put("latency_us", 1234)
        .put("seconds_left", 17);
  }

  @Test
  void whereNobodyHasWaitedForAPageFaultsAreNotSpokenOf() {
    assertThat(LiveView.line(status("vm1", "precopying", 0)))
        .isEqualTo(
            "vm1  precopying  [######..................] 25 %  105 MiB/s  1.23 ms  17 s left");
  }

  @Test
  void theBarIsNarrowerWhereTheLineWouldNotFitATerminal() {
    assertThat(LiveView.line(status("web-4711", "draining", 999)))
        .isEqualTo(
            "web-4711  draining  [#......] 25 %  105 MiB/s  999 faults/s  1.23 ms  17 s left")
        .hasSizeLessThan(80);
  }

  @Test
  void aSlowRateIsNotZero() {
    assertThat(LiveView.line(status("vm1", "draining", 1).put("bytes_per_second", 100 << 10)))
        .contains("] 25 %  0.1 MiB/s  1 faults/s");
  }

  @Test
  void anEndIsToldWithItsFigures() {
    Outcome outcome =
        new Outcome(
            ExitCode.COMPLETED,
            new MigrationReport(
                "completed",
                "",
                16_802,
                313_000,
                new FaultLatency(103, 134, 700, 2280, 3190, 0),
                PageCounts.NONE,
                1,
                Optional.empty()));
    ObjectNode status = status("vm1", "completed", 103).setAll(outcome.toNode());

    assertThat(LiveView.line(status))
        .isEqualTo("vm1  completed  downtime 16.8 ms  memory after 0.3 s  103 faults, p99 2.28 ms");
  }

  @Test
  void anEndThatIsNoneOfTheseHasItsReason() {
    Outcome outcome =
        new Outcome(ExitCode.FAILED_AT_SOURCE, MigrationReport.without("failed", "cancelled"));

    assertThat(LiveView.line(outcome.toNode())).isEqualTo("failed: cancelled");
  }
}
