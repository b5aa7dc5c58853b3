package dev.postcopy.metrics;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/** A migration as a web page that needs nothing but itself. */
public final class ReportPage {

  private static final String STYLE =
      """
      :root { color-scheme: light dark; --ink: #1c2330; --soft: #5c6675; --rule: #d9dee6;
        --paper: #ffffff; --mark: #2563eb; --late: #d9480f; }
      @media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b2; --rule: #333b47;
        --paper: #14181f; --mark: #6ea8fe; --late: #ff922b; } }
      body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
        max-width: 900px; margin: 2rem auto; padding: 0 1rem; }
      h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .3rem; }
      p { color: var(--soft); margin: .2rem 0 .6rem; }
      svg { width: 100%; height: auto; display: block; }
      .figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr));
        gap: .8rem; margin: 1.2rem 0; }
      .figures div { border: 1px solid var(--rule); border-radius: 6px; padding: .5rem .7rem; }
      .figures b { display: block; font-size: 1.2rem; } .figures span { color: var(--soft);
        font-size: .85rem; }
      table { border-collapse: collapse; margin: .5rem 0; } th, td { padding: .2rem .9rem .2rem 0;
        border-bottom: 1px solid var(--rule); text-align: right; } th:first-child {
        text-align: left; font-weight: 500; } th { font-weight: 500; color: var(--soft); }
      .grid { stroke: var(--rule); stroke-width: 1; } .tick { fill: var(--soft); font-size: 12px; }
      .inside { fill: var(--paper); } .bar { fill: var(--mark); } .line { fill: none; stroke: var(--mark); stroke-width: 2; }
      .range { stroke: var(--rule); stroke-width: 1.5; } .dot { fill: var(--mark); }
      .late { fill: var(--late); }
      """;

  private final MigrationRecord record;
  private final StringBuilder out = new StringBuilder();

  private ReportPage(MigrationRecord record) {
    this.record = record;
  }

  /** Writes the page. */
  public static void write(MigrationRecord record, Path file) throws IOException {
    WholeFile.write(file, new ReportPage(record).text().getBytes(StandardCharsets.UTF_8));
  }

  private String text() {
    MigrationReport report = record.report();
    ReportCharts charts = new ReportCharts(record);
    String title = "%s: %s".formatted(record.vm(), report.status());
    out.append("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<title>")
        .append(Html.escape(title))
        .append("</title>\n<style>\n")
        .append(STYLE)
        .append("</style></head><body>\n<h1>")
        .append(Html.escape(title))
        .append("</h1>\n<p>")
        .append(
            Html.escape(
                "Seen from the %s, from %s on, for %s. %s"
                    .formatted(
                        record.side(),
                        record.startedAt(),
                        ReportCharts.duration(record.durationMicros()),
                        report.reason())))
        .append("</p>\n");
    figures();
    if (!record.phases().isEmpty()) {
      section("Phases", "", charts.phases());
    }
    report.precopy().ifPresent(this::precopy);
    section("Memory", "Pages that the destination has, as far as this side knows.", charts.pages());
    if (record.samples().stream().anyMatch(point -> point.windowBytes() > 0)) {
      section("Bulk window", "What the push may have in flight.", charts.window());
    }
    Distribution total = record.stages().get(FaultStage.TOTAL.label());
    if (total != null) {
      section(
          "Fault latency over time",
          "Median and, in the other colour, 99th percentile of the faults of each tenth of a"
              + " second.",
          charts.latencyOverTime());
      section(
          "Fault latency",
          "From reading a fault's message to waking its thread.",
          charts.distribution(total) + ReportCharts.stageTable(record.stages()));
    }
    if (!record.stalls().isEmpty()) {
      section(
          "Stall of the guest",
          "How long each thread of QEMU waited for missing pages.",
          charts.stalls());
    }
    return out.append("</body></html>\n").toString();
  }

  private void figures() {
    MigrationReport report = record.report();
    Map<String, String> figures = new LinkedHashMap<>();
    if (report.downtimeMicros() > 0) {
      figures.put("downtime", ReportCharts.duration(report.downtimeMicros()));
      figures.put("until all memory was there", ReportCharts.duration(report.totalMicros()));
    }
    figures.put("faults", "%,d".formatted(report.faults().count()));
    if (report.faults().count() > 0) {
      figures.put("fault p50", ReportCharts.duration(report.faults().p50()));
      figures.put("fault p99", ReportCharts.duration(report.faults().p99()));
      figures.put("longest fault", ReportCharts.duration(report.faults().max()));
    }
    figures.put("pages on demand", "%,d".formatted(report.pages().demand()));
    figures.put("pages pushed", "%,d".formatted(report.pages().pushed()));
    figures.put("pages zero", "%,d".formatted(report.pages().zero()));
    figures.put("sent", ReportCharts.mebibytes(report.bytesSent()));
    report
        .precopy()
        .ifPresent(
            ahead -> {
              figures.put("of these ahead of the guest", ReportCharts.mebibytes(ahead.bytes()));
              figures.put(
                  "pages taken back at the stop", "%,d".formatted(ahead.pagesTakenBackAtStop()));
            });
    if (record.last().reconnects() > 0) {
      figures.put("reconnects", String.valueOf(record.last().reconnects()));
    }
    out.append("<div class=\"figures\">\n");
    figures.forEach(
        (name, value) ->
            out.append("<div><b>")
                .append(value)
                .append("</b><span>")
                .append(name)
                .append("</span></div>\n"));
    out.append("</div>\n");
  }

  private void precopy(MigrationReport.Precopy ahead) {
    section(
        "Pre-copy",
        "Memory that went ahead while the guest ran at the source. What it wrote to meanwhile was"
            + " taken back.",
        ahead.rounds().isEmpty() ? "" : ReportCharts.roundTable(ahead.rounds()));
  }

  private void section(String title, String explanation, String body) {
    out.append("<h2>").append(title).append("</h2>\n");
    if (!explanation.isEmpty()) {
      out.append("<p>").append(explanation).append("</p>\n");
    }
    out.append(body);
  }
}
