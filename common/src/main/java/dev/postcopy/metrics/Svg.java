package dev.postcopy.metrics;

import java.util.Locale;

/** A drawing of fixed width, written as it goes; colours are the page's CSS variables. */
final class Svg {

  static final int WIDTH = 860;
  static final int LEFT = 70;
  static final int RIGHT = 16;
  private static final int TOP = 10;
  private static final int BOTTOM = 26;

  private final StringBuilder out = new StringBuilder();
  private final int height;

  Svg(int height, String title) {
    this.height = height;
    add(
        "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">",
        WIDTH, height, Html.escape(title));
  }

  /** The x of a value on an axis from 0 to {@code max}. */
  static double x(double value, double max) {
    return LEFT + (WIDTH - LEFT - RIGHT) * (max <= 0 ? 0 : value / max);
  }

  static double x(long value, long max) {
    return x((double) value, (double) max);
  }

  /** The y of a share of the drawing's height, 0 at its bottom, 1 at its top. */
  double y(double share) {
    return height - BOTTOM - (height - BOTTOM - TOP) * share;
  }

  @SuppressWarnings("AnnotateFormatMethod") // a library for one annotation is too much
  Svg add(String format, Object... arguments) {
    out.append(String.format(Locale.ROOT, format, arguments)).append('\n');
    return this;
  }

  /** A line of the grid with its label on the left. */
  Svg level(double share, String label) {
    return add(
        "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
            + "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
        LEFT, WIDTH - RIGHT, y(share), y(share), LEFT - 8, y(share) + 4, Html.escape(label));
  }

  /** A label below the drawing. */
  Svg below(double x, String label) {
    return add(
        "<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>",
        x, height - 8, Html.escape(label));
  }

  /** Seconds below the drawing, from 0 to the end. */
  Svg seconds(long endMicros) {
    double end = endMicros / 1e6;
    double step = step(end / 8);
    for (double at = 0; at <= end; at += step) {
      below(x(at, end), label(at, step) + " s");
    }
    return this;
  }

  /** 1, 2 or 5 times a power of ten, at least {@code wanted}. */
  private static double step(double wanted) {
    double power = Math.pow(10, Math.floor(Math.log10(Math.max(wanted, 1e-6))));
    for (double factor : new double[] {1, 2, 5}) {
      if (factor * power >= wanted) {
        return factor * power;
      }
    }
    return 10 * power;
  }

  private static String label(double value, double step) {
    int decimals = (int) Math.max(0, Math.ceil(-Math.log10(step)));
    return String.format(Locale.ROOT, "%." + decimals + "f", value);
  }

  String end() {
    return out + "</svg>\n";
  }
}
