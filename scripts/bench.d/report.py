"""Results as Markdown tables, and docs/benchmarks.md, of which each mode owns a section."""

import re
import statistics

MIB = 1 << 20


def nested(*keys):
    def value(result):
        for key in keys:
            result = result.get(key) if result is not None else None
        return result
    return value


def scaled(value, factor):
    return lambda result: None if value(result) is None else value(result) * factor


def added(*values):
    def value(result):
        found = [one(result) for one in values]
        return None if all(one is None for one in found) else sum(one or 0 for one in found)
    return value


def divided(value, base):
    return lambda result: None if value(result) is None else value(result) / base(result)


def grown(side, against):
    return lambda result: (None if result.get(side) is None else (result[side] - result[against]) / MIB)


# Name, how to get it from a result, decimals, whether a ratio says anything. Of all of them less is better.
ROWS = [
    ("downtime, ms", nested("downtime_ms"), 1, True),
    ("stalls seen by the guest", nested("stalls", "count"), 0, True),
    ("stalls, p50, ms", scaled(nested("stalls", "p50_us"), 1e-3), 2, True),
    ("stalls, p99, ms", scaled(nested("stalls", "p99_us"), 1e-3), 2, True),
    ("… of the first 100, ms", scaled(nested("stalls", "first_p99_us"), 1e-3), 2, True),
    ("… of the rest, ms", scaled(nested("stalls", "rest_p99_us"), 1e-3), 2, True),
    ("… the first 100 against the rest", divided(nested("stalls", "first_p99_us"), nested("stalls", "rest_p99_us")), 2,
     False),
    ("faults as the agent sees them, p99, ms", scaled(nested("report", "fault_latency_us", "p99"), 1e-3), 2, False),
    ("… of the first 100, ms", scaled(nested("report", "fault_latency_us", "p99_of_first_100"), 1e-3), 2, False),
    ("… the first 100 against all", divided(nested("report", "fault_latency_us", "p99_of_first_100"),
                                            nested("report", "fault_latency_us", "p99")), 2, False),
    ("stalls, longest, ms", scaled(nested("stalls", "max_us"), 1e-3), 1, True),
    ("stalls, sum, s", nested("stalls", "sum_s"), 2, True),
    ("guest time lost, s", nested("lost_s"), 2, True),
    ("RESUME to the first heartbeat, ms", nested("first_heartbeat_ms"), 0, True),
    ("STOP until all memory is there, s", nested("total_s"), 2, True),
    ("… Mbit/s to the destination", lambda result: result["link_bytes"]["sent"] * 8e-6 / result["total_s"], 0, False),
    ("command until STOP, s", nested("command_to_stop_s"), 2, False),
    ("… guest time lost meanwhile, s", nested("lost_before_stop_s"), 2, False),
    ("bytes on the link, MiB", scaled(added(nested("link_bytes", "sent"), nested("link_bytes", "received")), 1 / MIB),
     1, True),
    ("CPU after RESUME, all processes at the source, s", nested("cpu_total_s", "source", "after_resume"), 2, True),
    ("CPU after RESUME, all processes at the destination, s", nested("cpu_total_s", "destination", "after_resume"), 2, True),
    ("CPU after RESUME beside the guest's own, both sides, s",
     added(nested("cpu_added_s", "source", "after_resume"), nested("cpu_added_s", "destination", "after_resume")), 2, True),
    ("CPU from the command on beside the guest's own, both sides, s",
     added(nested("cpu_added_s", "source", "all"), nested("cpu_added_s", "destination", "all")), 2, True),
    ("CPU after RESUME of all else on this host, s", nested("cpu_others_s"), 2, False),
    ("peak resident, QEMU at the source, MiB", nested("memory_mib", "source_qemu", "VmHWM"), 0, True),
    ("peak resident, QEMU at the destination, MiB", nested("memory_mib", "destination_qemu", "VmHWM"), 0, True),
    ("peak resident, source agent, MiB", nested("memory_mib", "source_agent", "VmHWM"), 0, False),
    ("… without the guest's RAM, MiB", nested("memory_mib", "source_agent", "Own"), 0, False),
    ("peak resident, destination agent, MiB", nested("memory_mib", "destination_agent", "VmHWM"), 0, False),
    ("growth of the source's RAM file, MiB", grown("source_file_after", "source_file_before"), 1, True),
    ("destination's RAM file beyond the source's, MiB", grown("dest_file_after", "source_file_before"), 1, True),
    ("before: visits per second", nested("baseline", "ops_per_s"), 0, False),
    ("before: accesses longer than a stall, per second", nested("baseline", "stalls_per_s"), 1, False),
]

MEASURING = """\
Everything is measured from outside and in the same way for all of them; nothing is taken from what QEMU or the agents
say about themselves.

- **The link** is a veth pair between two network namespaces, limited in both directions by `tbf` with a first-in
  first-out queue of 10 ms (`--queue-ms`), which is about what a NIC's default queue of 1000 packets holds at 1 Gbit/s.
  What a plain TCP stream gets on it is measured for two seconds before the first guest starts, with the host idle.
  TCP has the host's congestion control, for all of them.
- **The guest** is Linux under TCG with one vCPU, its RAM a `memory-backend-file,share=on` on tmpfs for all. Its program
  visits a page, compares every word with what it last wrote, writes the page anew, and thinks. By default that is 200 µs
  of spinning, because a sleep of 200 µs takes a millisecond and more under emulation, and one visit in five goes to the
  cold pages, the others to the hot ones; within each, pages are picked at random.
- **QEMU's own post-copy** runs with `postcopy-ram` (and `postcopy-preempt`) on both sides, `max-bandwidth` 10 GiB/s,
  everything else at its default; `migrate-start-postcopy` follows `migrate` at once. It needs no other setting to work
  with shared RAM files.
- **Fixed windows** (`--sweep-window`) are the source agent's hidden option `--bulk-window`.
- **Downtime**: from QEMU's STOP event at the source to its RESUME event at the destination, by QEMU's time stamps.
- **State folders** of the agents are on tmpfs, as /run is on a host with systemd. On a disk each of three journal entries
  in the downtime waits for it.
- **Stalls**: accesses that took 100 µs longer than the median access before the migration, of those that ended after
  STOP and began before all memory was there. The guest notes each of them, by its TSC. The first 100 are those that a
  cold start would show in; but a stall is all that one access waited for, which may be several faults, and translating
  the guest's code anew. What the agents see is each fault, from its message until its thread is woken.
- **Guest time lost**: visits that were not made, against the guest's speed in the 3 s before, from STOP until 1 s after
  all memory was there; so it includes the downtime, stalls outside of visits (of the kernel, or of the program's own
  pages), and a slow start of the emulation. Before STOP: the same from the start of the command on; the agents' start
  takes CPU time from the guest, on a host with as few CPUs as this one.
- **STOP until all memory is there**: until the destination QEMU's MIGRATION event says "completed", or the destination
  agent prints its report.
- **Bytes on the link**: both directions, as the source's end of the veth pair counts them, from the start of the command.
- **CPU**: user and system time of the QEMUs and the agents, to the moment that all memory is there; from the command on
  with the whole life of the agents, so with the JVM's start and end. Beside the guest's own: without the threads of the
  vCPUs. All else on the host: the interrupts of the link, this benchmark, and what else kept the machine busy. A
  migration during which that was more than a tenth of the host's CPUs is made again, up to three times.
- **Peak resident**: VmHWM from /proc/PID/status. Both QEMUs and the source agent map the guest's RAM, so what they
  touched of it counts for each of them; without it: RssAnon and RssFile, looked at every 100 ms.
- **RAM files**: allocated blocks of the files, before the command and when all memory is there.
- After each migration the guest checks every page word by word: a run with a wrong page fails the benchmark.

Runs alternate, in an order that rotates. Figures are medians, in parentheses the smallest and the largest."""


def text_of(values, decimals):
    values = [value for value in values if value is not None]
    if not values:
        return "–"
    middle = f"{statistics.median(values):,.{decimals}f}"
    low, high = (f"{edge(values):,.{decimals}f}" for edge in (min, max))
    return middle if low == high else f"{middle} ({low}–{high})"


def ratio(values, base):
    values = [value for value in values if value is not None]
    base = [value for value in base if value is not None]
    if not values or not base or statistics.median(base) <= 0 or statistics.median(values) < 0:
        return "–"
    return f"{statistics.median(values) / statistics.median(base):.2f}"


def table(results, kinds, base=None):
    """Medians of each kind, and the ratio to `base` of each kind that QEMU has no part in."""
    compared = [kind.name for kind in kinds if not kind.by_qemu and kind.name != base] if base else []
    names = [kind.name for kind in kinds]
    lines = ["| | " + " | ".join(names + [f"{name} / {base}" for name in compared]) + " |",
             "|---|" + "---:|" * (len(names) + len(compared))]
    by_kind = {name: [result for result in results if result["kind"] == name and "error" not in result]
               for name in names}
    for label, value, decimals, comparable in ROWS:
        columns = {name: [value(result) for result in runs] for name, runs in by_kind.items()}
        cells = [text_of(columns[name], decimals) for name in names]
        cells += [ratio(columns[name], columns[base]) if comparable else "" for name in compared]
        if any(cell not in ("–", "") for cell in cells):
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    counts = [str(len(by_kind[name])) for name in names]
    lines.append("| runs | " + " | ".join(counts + [""] * len(compared)) + " |")
    return "\n".join(lines)


def one_line(result):
    if "error" in result:
        return f"FAILED: {result['error']}"
    stalls = result["stalls"]
    return (f"downtime {result['downtime_ms']:.1f} ms, {stalls['count']} stalls of {stalls['p50_us'] / 1000:.2f} ms"
            f" (p99 {stalls['p99_us'] / 1000:.2f}), {result['lost_s']:.2f} s lost, all there after"
            f" {result['total_s']:.2f} s, {'WRONG PAGES' if result['wrong_pages'] else 'memory right'}")


# The sections of docs/benchmarks.md, in their order.
SECTIONS = ["compared-1gbit", "compared-other", "compared-none", "sparse", "window"]


def write_section(path, name, text):
    """Replaces one section of the file, and keeps what other modes wrote."""
    sections = {}
    if path.exists():
        for match in re.finditer(r"<!-- section (\S+) -->\n(.*?)<!-- end of \1 -->", path.read_text(), re.DOTALL):
            sections[match.group(1)] = match.group(2)
    sections[name] = text.rstrip() + "\n"
    parts = ["# Benchmarks", "",
             "Written by scripts/bench, each section by one run of it: see there for the command line.", ""]
    for key in sorted(sections, key=lambda key: (SECTIONS.index(key) if key in SECTIONS else len(SECTIONS), key)):
        parts += [f"<!-- section {key} -->", sections[key] + f"<!-- end of {key} -->", ""]
    parts += ["## How it is measured", "", MEASURING, ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts))
