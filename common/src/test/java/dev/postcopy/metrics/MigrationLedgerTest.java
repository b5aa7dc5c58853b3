package dev.postcopy.metrics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.postcopy.cli.ExitCode;
import dev.postcopy.cli.HostAndPort;
import dev.postcopy.cli.Refusal;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.w3c.dom.Document;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;
import tools.jackson.databind.node.ObjectNode;

/** What is kept and shown of migrations, as Prometheus, a program and an operator find it. */
class MigrationLedgerTest {

  private static final MigrationReport REPORT =
      new MigrationReport(
          "completed",
          "",
          8000,
          6_000_000,
          new MigrationReport.FaultLatency(3, 200, 300, 900, 900, 850),
          new MigrationReport.PageCounts(3, 90, 7, 0),
          400_000,
          Optional.of(
              new MigrationReport.Precopy(
                  List.of(new MigrationReport.Round(1, 300_000, 2_000_000, 1234)), 310_000, 56)));

  @TempDir private Path folder = Path.of("");

  private final PhaseLog phases = new PhaseLog();
  private final FaultTimes times = new FaultTimes();
  private MigrationProgress now =
      new MigrationProgress(
          "DRAINING", 100, new MigrationReport.PageCounts(3, 40, 7, 1), 200_000, 3, 0, 65_536, 2);

  private MigrationView view(String vm) {
    return new MigrationView("destination", vm, phases, () -> now, times);
  }

  private void drainWithOneFault() {
    times.nameThread(77, "vCPU 0");
    times.record(0, 0, 100_000, 150_000, 300_000, 77);
    phases.note("DRAINING");
  }

  private static Outcome completed() {
    return new Outcome(ExitCode.COMPLETED, REPORT);
  }

  private static String metrics(MetricsEndpoint endpoint) throws IOException, InterruptedException {
    try (HttpClient client = HttpClient.newHttpClient()) {
      return client
          .send(
              HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + endpoint.port() + "/metrics"))
                  .build(),
              HttpResponse.BodyHandlers.ofString())
          .body();
    }
  }

  @Test
  void prometheusFindsAMigrationWhileItIsUnderWayAndItsSumsAfterwards() throws Exception {
    MigrationLedger ledger = new MigrationLedger(folder, Optional.empty());
    drainWithOneFault();
    try (MetricsEndpoint endpoint = MetricsEndpoint.open(new HostAndPort("127.0.0.1", 0), ledger)) {
      String[] during = new String[1];
      ledger.watch(
          view("web1"),
          () -> {
            during[0] = metricsUnchecked(endpoint);
            now =
                new MigrationProgress(
                    "DRAINING",
                    100,
                    new MigrationReport.PageCounts(3, 90, 7, 1),
                    400_000,
                    3,
                    0,
                    0,
                    2);
            return completed();
          });
      assertThat(during[0].lines())
          .contains(
              "postcopy_migrations_running{phase=\"DRAINING\",vm=\"web1\"} 1.0",
              "postcopy_known_pages{vm=\"web1\"} 50.0",
              "postcopy_bulk_window_bytes{vm=\"web1\"} 65536.0",
              "postcopy_thread_stall_seconds_total{thread=\"vCPU 0\",vm=\"web1\"} 3.0E-4",
              "postcopy_pages_total{kind=\"pushed\"} 0.0",
              "postcopy_reconnects_total 2.0",
              "postcopy_fault_latency_seconds_bucket{stage=\"total\",le=\"2.0E-4\"} 0",
              "postcopy_fault_latency_seconds_bucket{stage=\"total\",le=\"5.0E-4\"} 1");
      assertThat(metrics(endpoint).lines())
          .contains(
              "postcopy_migrations_total{status=\"completed\"} 1.0",
              "postcopy_pages_total{kind=\"pushed\"} 90.0",
              "postcopy_sent_bytes_total 400000.0",
              "postcopy_fault_latency_seconds_count{stage=\"total\"} 1")
          .noneMatch(line -> line.startsWith("postcopy_migrations_running{"));
    }
  }

  /** Prometheus takes nothing of what has a figure twice. */
  @Test
  void machinesThatAreCalledAlikeAreAddedUp() throws Exception {
    MigrationLedger ledger = new MigrationLedger(folder, Optional.empty());
    drainWithOneFault();
    try (MetricsEndpoint endpoint = MetricsEndpoint.open(new HostAndPort("127.0.0.1", 0), ledger)) {
      String[] during = new String[1];
      ledger.watch(
          view("web1"),
          () ->
              ledger.watch(
                  view("web1"),
                  () -> {
                    during[0] = metricsUnchecked(endpoint);
                    return completed();
                  }));

      assertThat(during[0].lines())
          .containsOnlyOnce(
              "postcopy_migrations_running{phase=\"DRAINING\",vm=\"web1\"} 2.0",
              "postcopy_known_pages{vm=\"web1\"} 100.0",
              "postcopy_thread_stall_seconds_total{thread=\"vCPU 0\",vm=\"web1\"} 6.0E-4");
    }
  }

  /** The destination drops pages whose content was old. */
  @Test
  void bytesThatWereCountedStayCounted() throws Exception {
    MigrationLedger ledger = new MigrationLedger(folder, Optional.empty());
    MigrationProgress before = now;
    try (MetricsEndpoint endpoint = MetricsEndpoint.open(new HostAndPort("127.0.0.1", 0), ledger)) {
      ledger.watch(
          view("web1"),
          () -> {
            assertThat(metricsUnchecked(endpoint)).contains("postcopy_sent_bytes_total 200000.0");
            now =
                new MigrationProgress(
                    before.phase(), 100, before.pages(), 150_000, before.faults(), 0, 0, 0);
            assertThat(metricsUnchecked(endpoint)).contains("postcopy_sent_bytes_total 200000.0");
            return completed();
          });
    }
  }

  private static String metricsUnchecked(MetricsEndpoint endpoint) {
    try {
      return metrics(endpoint);
    } catch (IOException | InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @Test
  void metricsAreOfferedOnLoopbackOnly() {
    MigrationLedger ledger = new MigrationLedger(folder, Optional.empty());
    assertThatThrownBy(() -> MetricsEndpoint.open(new HostAndPort("0.0.0.0", 0), ledger))
        .isInstanceOf(Refusal.class)
        .hasMessageContaining("choose an address of loopback");
  }

  @Test
  void aPortThatIsTakenMayBeFreeTheNextTime() {
    MigrationLedger ledger = new MigrationLedger(folder, Optional.empty());
    try (MetricsEndpoint first = MetricsEndpoint.open(new HostAndPort("127.0.0.1", 0), ledger)) {
      HostAndPort taken = new HostAndPort("127.0.0.1", first.port());
      assertThatThrownBy(() -> MetricsEndpoint.open(taken, ledger))
          .hasMessageContaining("cannot offer metrics on 127.0.0.1:" + first.port())
          .isInstanceOfSatisfying(Refusal.class, refusal -> assertThat(refusal.mayPass()).isTrue());
    }
  }

  private List<Path> records() throws IOException {
    try (Stream<Path> files = Files.list(folder.resolve("records"))) {
      return files.toList();
    }
  }

  @Test
  void aRecordOfEachMigrationIsKeptInTheStateFolder() throws IOException {
    new MigrationLedger(folder, Optional.empty())
        .watch(
            view("../web/1"),
            () -> {
              phases.note("LOADING");
              times.record(0, 0, 100_000, 150_000, 300_000, 5);
              return completed();
            });
    assertThat(records()).hasSize(1);
    Path file = records().getFirst();
    assertThat(file.getFileName().toString()).endsWith("-destination-.._web_1.json");
    JsonNode record = new ObjectMapper().readTree(Files.readAllBytes(file));
    assertThat(record.path("vm").asString()).isEqualTo("../web/1");
    assertThat(record.path("report").path("status").asString()).isEqualTo("completed");
    assertThat(record.path("phases").get(0).path("name").asString()).isEqualTo("LOADING");
    assertThat(record.path("stages").path("total").path("count").asInt()).isEqualTo(1);
    assertThat(record.path("samples").size()).as("points of its course").isPositive();
    assertThat(MigrationRecord.read(file).report())
        .as("what the report is made of")
        .isEqualTo(REPORT);
  }

  @Test
  void aRecordFromBeforeMemoryWentAheadIsRead() throws IOException {
    ObjectMapper json = new ObjectMapper();
    ObjectNode old = (ObjectNode) json.readTree(record("web1", "2026-01-01T00:00:00Z").toJson());
    ((ObjectNode) old.path("report")).remove("precopy");
    Path file = Files.write(folder.resolve("old.json"), json.writeValueAsBytes(old));

    assertThat(MigrationRecord.read(file).report().precopy()).isEmpty();
  }

  @Test
  void aHostThatMigratesForYearsKeepsTheNewestHundredRecords() throws IOException {
    RecordFolder records = new RecordFolder(folder.resolve("records"));
    for (int i = 0; i < 105; i++) {
      records.add(record("vm" + i, "2026-01-01T00:00:%02d.%03dZ".formatted(i / 60, i)));
    }
    assertThat(records()).hasSize(100);
    assertThat(records()).noneMatch(file -> file.toString().endsWith("vm4.json"));
    assertThat(records()).anyMatch(file -> file.toString().endsWith("vm104.json"));
  }

  private MigrationRecord record(String vm, String startedAt) {
    return new MigrationRecord(
        "source", vm, startedAt, 1, REPORT, List.of(), List.of(), Map.of(), List.of(), now);
  }

  @Test
  void aRefusalLeavesNoRecordAndGoesOnToWhoeverAsked() {
    MigrationLedger ledger = new MigrationLedger(folder, Optional.empty());
    assertThatThrownBy(
            () ->
                ledger.watch(
                    view("web1"),
                    () -> {
                      throw new Refusal("no", "none");
                    }))
        .isInstanceOf(Refusal.class);
    assertThat(folder.resolve("records")).doesNotExist();
    assertThat(ledger.look().underWay()).isEmpty();
  }

  @Test
  void thePageIsWellFormedNeedsNothingElseAndBelievesNoName() throws Exception {
    Path page = folder.resolve("report.html");
    new MigrationLedger(folder, Optional.of(page))
        .watch(
            view("<script>alert(1)</script>&\""),
            () -> {
              phases.note("LOADING");
              times.record(0, 50_000, 100_000, 150_000, 300_000, 5);
              return completed();
            });
    String text = Files.readString(page);
    assertThat(text)
        .as("the page")
        .doesNotContain("<script", "http:", "https:", "src=", "href=", "url(", "@import")
        .contains("Fault latency over time", "Stall of the guest", "Bulk window")
        .contains(
            "Pre-copy", "<th>1</th><td>0.3 MiB</td><td>2.00 s</td><td>0.1 MiB/s</td>", "1,234")
        .contains("<b>56</b><span>pages taken back at the stop</span>");
    // XML is stricter than HTML: what it takes has no tag left open and no text that is a tag.
    Document document =
        DocumentBuilderFactory.newInstance()
            .newDocumentBuilder()
            .parse(
                new ByteArrayInputStream(
                    text.replace("<!doctype html>", "")
                        .replace("<meta charset=\"utf-8\">", "")
                        .getBytes(StandardCharsets.UTF_8)));
    assertThat(document.getElementsByTagName("svg").getLength()).as("drawings").isEqualTo(6);
  }

  @Test
  void aLongMigrationIsDrawnWithFewerPointsAndNoStallIsLost() {
    Course course = new Course(view("web1"));
    for (int i = 0; i < 10_000; i++) {
      times.record(0, 0, 1000, 1000, i == 4321 ? 900_000_000 : 1_000_000, 1);
      course.tick();
    }
    assertThat(course.points().size()).isBetween(500, 1200);
    assertThat(course.points())
        .as("the longest stall")
        .anyMatch(point -> point.maxMicros() > 890_000);
  }
}
