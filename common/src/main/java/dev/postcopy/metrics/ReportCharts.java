package dev.postcopy.metrics;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.ToDoubleFunction;

/** The drawings of a {@link ReportPage}. */
final class ReportCharts {

  private static final int MAX_THREADS = 24;
  private static final int ROW = 22;

  /** Room for the name of a phase and its time, beside its bar or in it. */
  private static final int LABEL_WIDTH = 170;

  private final MigrationRecord record;

  ReportCharts(MigrationRecord record) {
    this.record = record;
  }

  /** A bar for each phase; one that is too short to be seen is drawn a hair wide. */
  String phases() {
    List<PhaseLog.Phase> phases = record.phases();
    Svg svg = new Svg(phases.size() * ROW + 40, "Phases");
    for (int i = 0; i < phases.size(); i++) {
      long from = phases.get(i).atMicros();
      long to = i + 1 < phases.size() ? phases.get(i + 1).atMicros() : record.durationMicros();
      double x = Svg.x(from, record.durationMicros());
      double width = Math.max(1.5, Svg.x(to, record.durationMicros()) - x);
      double y = 10.0 + i * ROW;
      boolean inside = width > LABEL_WIDTH;
      boolean before = !inside && x > Svg.WIDTH - 2 * LABEL_WIDTH;
      svg.add(
          "<rect class=\"bar\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>",
          x, y, width, ROW - 6);
      svg.add(
          "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s, %s</text>",
          inside ? "tick inside" : "tick",
          inside ? x + 6 : before ? x - 6 : x + width + 6,
          y + 12,
          before ? "end" : "start",
          Html.escape(phases.get(i).name().toLowerCase(Locale.ROOT).replace('_', ' ')),
          duration(to - from));
    }
    return svg.seconds(record.durationMicros()).end();
  }

  /** How much of the guest the destination has, in per cent. */
  String pages() {
    long all = Math.max(1, record.last().allPages());
    Svg svg = new Svg(200, "Pages over time");
    for (int percent = 0; percent <= 100; percent += 25) {
      svg.level(percent / 100.0, percent + " %");
    }
    line(svg, "line", point -> (double) point.knownPages() / all);
    return svg.seconds(record.durationMicros()).end();
  }

  /** Faults by the time that they took, where some were recorded: median and 99th percentile. */
  String latencyOverTime() {
    Svg svg = new Svg(220, "Fault latency over time");
    double low = 1; // 10 µs
    double high = 6; // 1 s
    for (int power = (int) low; power <= high; power++) {
      svg.level((power - low) / (high - low), duration(Math.pow(10, power)));
    }
    for (MigrationRecord.Point point : record.samples()) {
      if (point.faultsSince() > 0) {
        double x = Svg.x(point.atMicros(), record.durationMicros());
        svg.add(
            "<line class=\"range\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
            x,
            x,
            svg.y(log(point.p50Micros(), low, high)),
            svg.y(log(point.p99Micros(), low, high)));
        dot(svg, "dot", x, svg.y(log(point.p50Micros(), low, high)));
        dot(svg, "dot late", x, svg.y(log(point.p99Micros(), low, high)));
      }
    }
    return svg.seconds(record.durationMicros()).end();
  }

  private static double log(long micros, double low, double high) {
    return log((double) micros, low, high);
  }

  private static double log(double micros, double low, double high) {
    return Math.clamp((Math.log10(Math.max(micros, 1)) - low) / (high - low), 0, 1);
  }

  private static void dot(Svg svg, String kind, double x, double y) {
    svg.add("<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.2\"/>", kind, x, y);
  }

  /** How many faults took how long. */
  String distribution(Distribution latency) {
    Svg svg = new Svg(200, "Fault latency");
    double low = 0; // 1 µs
    double high = 6.5;
    long most = latency.buckets().stream().mapToLong(Distribution.Bucket::count).max().orElse(1);
    for (int quarter = 0; quarter <= 4; quarter++) {
      svg.level(quarter / 4.0, String.valueOf(most * quarter / 4));
    }
    for (Distribution.Bucket bucket : latency.buckets()) {
      double from = Svg.x(log(bucket.fromMicros(), low, high), 1);
      double to = Svg.x(log(bucket.toMicros(), low, high), 1);
      double y = svg.y((double) bucket.count() / most);
      svg.add(
          "<rect class=\"bar\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">"
              + "<title>%s to %s: %d</title></rect>",
          from,
          y,
          Math.max(1, to - from - 1),
          svg.y(0) - y,
          duration(bucket.fromMicros()),
          duration(bucket.toMicros()),
          bucket.count());
    }
    for (int power = 0; power <= high; power++) {
      svg.below(Svg.x(log(Math.pow(10, power), low, high), 1), duration(Math.pow(10, power)));
    }
    return svg.end();
  }

  /** How long each thread of QEMU waited in all. */
  String stalls() {
    List<ThreadStall> threads =
        record.stalls().subList(0, Math.min(MAX_THREADS, record.stalls().size()));
    long longest = Math.max(1, threads.getFirst().totalMicros());
    Svg svg = new Svg(threads.size() * ROW + 40, "Stall by thread");
    for (int i = 0; i < threads.size(); i++) {
      ThreadStall thread = threads.get(i);
      double y = 10.0 + i * ROW;
      // Room on the right for the figures.
      double width = (Svg.x(thread.totalMicros(), longest) - Svg.LEFT) * 0.6;
      svg.add(
          "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
          Svg.LEFT - 8,
          y + 12,
          Html.escape(thread.name().isEmpty() ? "tid " + thread.threadId() : thread.name()));
      svg.add(
          "<rect class=\"bar\" x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>",
          Svg.LEFT, y, Math.max(1.5, width), ROW - 6);
      svg.add(
          "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\">%s in %d faults, longest %s</text>",
          Svg.LEFT + width + 8,
          y + 12,
          duration(thread.totalMicros()),
          thread.faults(),
          duration(thread.longestMicros()));
    }
    return svg.end();
  }

  /** What the push was allowed to have in flight. */
  String window() {
    Svg svg = new Svg(160, "Bulk window");
    long most =
        record.samples().stream().mapToLong(MigrationRecord.Point::windowBytes).max().orElse(1);
    for (int quarter = 0; quarter <= 4; quarter += 2) {
      svg.level(quarter / 4.0, "%d KiB".formatted(most * quarter / 4 / 1024));
    }
    line(svg, "line", point -> (double) point.windowBytes() / Math.max(1, most));
    return svg.seconds(record.durationMicros()).end();
  }

  private void line(Svg svg, String kind, ToDoubleFunction<MigrationRecord.Point> share) {
    List<String> points = new ArrayList<>();
    for (MigrationRecord.Point point : record.samples()) {
      points.add(
          String.format(
              Locale.ROOT,
              "%.1f,%.1f",
              Svg.x(point.atMicros(), record.durationMicros()),
              svg.y(Math.clamp(share.applyAsDouble(point), 0, 1))));
    }
    svg.add("<polyline class=\"%s\" points=\"%s\"/>", kind, String.join(" ", points));
  }

  /** A table of the stages; {@code stages} is not empty. */
  static String stageTable(Map<String, Distribution> stages) {
    StringBuilder rows = new StringBuilder();
    stages.forEach(
        (stage, latency) ->
            rows.append("<tr><th>")
                .append(Html.escape(stage))
                .append("</th>")
                .append(cell(latency.p50()))
                .append(cell(latency.p90()))
                .append(cell(latency.p99()))
                .append(cell(latency.max()))
                .append("</tr>\n"));
    return "<table><tr><th>stage</th><th>p50</th><th>p90</th><th>p99</th><th>longest</th></tr>\n"
        + rows
        + "</table>\n";
  }

  /** A table of what each round over the guest's memory was like. */
  static String roundTable(List<MigrationReport.Round> rounds) {
    StringBuilder rows = new StringBuilder();
    for (MigrationReport.Round round : rounds) {
      rows.append("<tr><th>")
          .append(round.number())
          .append("</th>")
          .append(cell(mebibytes(round.bytes())))
          .append(cell(round.micros()))
          .append(cell(mebibytes(1e6 * round.bytes() / Math.max(1, round.micros())) + "/s"))
          .append(cell("%,d".formatted(round.pagesWritten())))
          .append("</tr>\n");
    }
    return "<table><tr><th>round</th><th>sent</th><th>took</th><th>rate</th>"
        + "<th>pages written meanwhile</th></tr>\n"
        + rows
        + "</table>\n";
  }

  private static String cell(long micros) {
    return cell(duration(micros));
  }

  private static String cell(String text) {
    return "<td>" + text + "</td>";
  }

  static String mebibytes(long bytes) {
    return mebibytes((double) bytes);
  }

  private static String mebibytes(double bytes) {
    return String.format(Locale.ROOT, "%.1f MiB", bytes / 1048576.0);
  }

  static String duration(long micros) {
    return duration((double) micros);
  }

  static String duration(double micros) {
    if (micros >= 1e6) {
      return String.format(Locale.ROOT, "%.3g s", micros / 1e6);
    }
    return micros >= 1000
        ? String.format(Locale.ROOT, "%.3g ms", micros / 1000)
        : String.format(Locale.ROOT, "%.0f µs", micros);
  }
}
