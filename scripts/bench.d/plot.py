"""Plots as SVG, written by hand: lines on logarithmic axes, legible on white and on black."""

import html
import math

COLOURS = ("#d1495b", "#edae49", "#00798c", "#6a4c93", "#3a7d44", "#5c5c5c", "#a15c38")
LEFT, TOP, WIDTH, HEIGHT, BOTTOM = 72, 44, 620, 320, 56


class Axis:
    def __init__(self, label, low, high, start, end, logarithmic=True, texts=None):
        self.label = label
        self.logarithmic = logarithmic
        self.texts = texts
        if logarithmic:
            low, high = 10 ** math.floor(math.log10(low) + 1e-9), 10 ** math.ceil(math.log10(high) - 1e-9)
            if low == high:
                high *= 10
        self.low, self.high, self.start, self.end = low, high, start, end

    def at(self, value):
        if self.logarithmic:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self):
        """(value, text) of each line; the text is empty for those between the powers of ten."""
        if self.texts:
            return self.texts
        if not self.logarithmic:
            step = 10 ** math.floor(math.log10(self.high - self.low))
            while (self.high - self.low) / step < 4:
                step /= 2
            count = int((self.high - self.low) / step + 1e-9)
            return [(self.low + i * step, number(self.low + i * step)) for i in range(count + 1)]
        ticks, power = [], self.low
        while power < self.high * 1.001:
            ticks.append((power, number(power)))
            ticks += [(power * i, "") for i in range(2, 10) if power * i < self.high]
            power *= 10
        return ticks


def number(value):
    return f"{value:,.0f}" if value >= 1 or value == 0 else f"{value:.6f}".rstrip("0")


def panel(title, x, y, series, top=0, steps=False):
    """One plot; `series` is a list of (name, [(x, y), ...])."""
    out = [f'<text x="{LEFT}" y="{top + 22}" class="title">{html.escape(title)}</text>']
    for value, text in x.ticks():
        at = x.at(value)
        out.append(f'<line x1="{at:.1f}" y1="{y.end}" x2="{at:.1f}" y2="{y.start}" class="{"grid" if text else "fine"}"/>')
        if text:
            out.append(f'<text x="{at:.1f}" y="{y.start + 18}" text-anchor="middle">{text}</text>')
    for value, text in y.ticks():
        at = y.at(value)
        out.append(f'<line x1="{x.start}" y1="{at:.1f}" x2="{x.end}" y2="{at:.1f}" class="{"grid" if text else "fine"}"/>')
        if text:
            out.append(f'<text x="{x.start - 8}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
    middle = (y.start + y.end) / 2
    out.append(f'<text x="{(x.start + x.end) / 2}" y="{y.start + 40}" text-anchor="middle">{html.escape(x.label)}</text>')
    out.append(f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">'
               f'{html.escape(y.label)}</text>')
    for i, (name, points) in enumerate(series):
        colour = COLOURS[i % len(COLOURS)]
        if points:
            path = f"M{x.at(points[0][0]):.1f} {y.at(points[0][1]):.1f}"
            for (_, before), (at_x, at_y) in zip(points, points[1:]):
                if steps:
                    path += f"L{x.at(at_x):.1f} {y.at(before):.1f}"
                path += f"L{x.at(at_x):.1f} {y.at(at_y):.1f}"
            out.append(f'<path d="{path}" stroke="{colour}" class="line"/>')
            if not steps:
                out += [f'<circle cx="{x.at(a):.1f}" cy="{y.at(b):.1f}" r="3.5" fill="{colour}"/>' for a, b in points]
        if len(series) > 1:
            row = y.end + 18 + 18 * i
            out.append(f'<line x1="{x.end - 190}" y1="{row - 4}" x2="{x.end - 166}" y2="{row - 4}" stroke="{colour}"'
                       ' class="line"/>')
            out.append(f'<text x="{x.end - 158}" y="{row}">{html.escape(name)}</text>')
    return out


def document(height, parts):
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 24} {height}" font-size="12"'
        ' font-family="Helvetica, Arial, sans-serif">',
        "<style>",
        "  svg { background: #fff } text { fill: #222 } .title { font-size: 15px; font-weight: bold }",
        "  .grid { stroke: #c8c8c8; stroke-width: 1 } .fine { stroke: #eee; stroke-width: 1 }",
        "  .line { fill: none; stroke-width: 2 }",
        "</style>",
        *parts, "</svg>", ""])


def stalls(path, by_kind):
    """For each kind, the share of its stalls that were at least as long as x; {name: list of runs' stalls in µs}."""
    series = []
    for name, runs in by_kind.items():
        pooled = sorted((took for run in runs for took in run), reverse=True)
        points = [(took / 1000, (i + 1) / len(pooled)) for i, took in enumerate(pooled)]
        # A step for each pixel is enough.
        thinned, last = [], None
        for point in reversed(points):
            if last is None or point[0] / last >= 1.01:
                thinned.append(point)
                last = point[0]
        if points and thinned[-1] != points[0]:
            thinned.append(points[0])
        series.append((name, thinned))
    every = [point for _, points in series for point in points]
    if not every:
        return
    x = Axis("length of the stall, ms", min(p[0] for p in every), max(p[0] for p in every), LEFT, LEFT + WIDTH)
    y = Axis("share of the stalls at least this long", min(p[1] for p in every), 1, TOP + HEIGHT, TOP)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document(TOP + HEIGHT + BOTTOM,
                             panel("What the guest waited for its pages", x, y, series, steps=True)))


def window(path, points):
    """`points`: (window in bytes, p99 in ms, MiB/s), in order."""
    lows, highs = min(p[0] for p in points), max(p[0] for p in points)
    texts = [(value, f"{value // 1024} KiB" if value < 1 << 20 else f"{value >> 20} MiB") for value, _, _ in points]
    second = TOP + HEIGHT + BOTTOM

    def x_axis():
        axis = Axis("bytes of bulk data in flight", lows, highs, LEFT, LEFT + WIDTH, texts=texts)
        axis.low, axis.high = lows / 1.2, highs * 1.2
        return axis

    latency = Axis("p99 of the stalls, ms", min(p[1] for p in points), max(p[1] for p in points), TOP + HEIGHT, TOP)
    rate = Axis("MiB/s", 0, max(p[2] for p in points) * 1.1, second + TOP + HEIGHT, second + TOP, logarithmic=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document(2 * second, [
        *panel("Window against the length of stalls", x_axis(), latency, [("p99", [(p[0], p[1]) for p in points])]),
        *panel("Window against throughput", x_axis(), rate, [("rate", [(p[0], p[2]) for p in points])], top=second),
    ]))
