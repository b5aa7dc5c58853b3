"""The modes of scripts/bench, once everything is there."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

import lab
import migration
import network
import plot
import report

POSTCOPY = migration.Kind("postcopy-ram", preempt=False)
PREEMPT = migration.Kind("postcopy-preempt", preempt=True)
HYBRID = migration.Kind("qemu-hybrid", preempt=True, ahead=True)
PROJECT = "this project"
PROJECT_PRECOPY = "project-precopy"
PROJECT_TLS = "project-tls"
WINDOWS = "16K,32K,64K,128K,256K,512K,1M,4M"

# A migration during which something else had more than this part of the host's CPUs is made again, but not for ever.
DISTURBED_SHARE = 0.1
ATTEMPTS = 4


def options_of(arguments):
    parser = argparse.ArgumentParser(
        prog="scripts/bench", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Compares QEMU's own post-copy migration with this project's, on a link between two network"
                    " namespaces.\nWithout a mode: both kinds of QEMU's post-copy and this project, alternating.")
    modes = parser.add_argument_group("modes").add_mutually_exclusive_group()
    modes.add_argument("--sparse", action="store_true",
                       help="large guests of which little is used, against a small one with the same use")
    modes.add_argument("--sweep-window", nargs="?", const=WINDOWS, metavar="SIZES",
                       help=f"this project alone with fixed bulk windows (default: {WINDOWS})")

    what = parser.add_argument_group("what is compared")
    what.add_argument("--qemu", default="10.0", help="which QEMU, as scripts/fetch names them (default: 10.0)")
    what.add_argument("--runs", type=int, default=3, help="migrations of each kind (default: 3)")
    what.add_argument("--only", metavar="NAMES", help="only these kinds, by commas: postcopy-ram, postcopy-preempt,"
                                                      " project, and, not among them otherwise, project-tls, project-precopy and"
                                                      " qemu-hybrid (pre-copy, then post-copy after the first pass)")
    what.add_argument("--source-flags", default="", metavar="FLAGS", help="for every source agent")
    what.add_argument("--dest-flags", default="", metavar="FLAGS", help="for every destination agent")
    what.add_argument("--variant", action="append", default=[], metavar="'NAME[@FOLDER]=[KEY=VALUE ...] [FLAGS] [-- FLAGS]'",
                      help="one more kind: this project, from this folder if not from here, with these variables,"
                           " flags of the source agent and, after --, of the destination agent; repeatable")
    what.add_argument("--sparse-qemu", action="store_true", help="with --sparse: postcopy-preempt too")
    what.add_argument("--sparse-memory", default="1024,12288,65536", metavar="MIB,...",
                      help="with --sparse: sizes of the guests (default: 1024,12288,65536)")

    link = parser.add_argument_group("link")
    link.add_argument("--rate", default="1gbit", help="as tc understands it, or none (default: 1gbit)")
    link.add_argument("--queue-ms", type=float, default=10, help="length of the link's queue (default: 10)")
    link.add_argument("--delay-us", type=int, default=0, help="added delay in each direction (default: 0)")

    guest = parser.add_argument_group("guest")
    guest.add_argument("--memory", type=int, default=1024, metavar="MIB", help="its RAM (default: 1024)")
    guest.add_argument("--use", type=int, metavar="MIB", help="what its program works on (default: 600; sparse: 230)")
    guest.add_argument("--hot", type=int, default=64, metavar="MIB", help="most visited part of that (default: 64)")
    guest.add_argument("--cold-share", type=int, default=200, metavar="PER_MILLE",
                       help="visits that go to the rest (default: 200)")
    guest.add_argument("--spin-us", type=int, default=200, help="busy think time after each visit (default: 200)")
    guest.add_argument("--think-us", type=int, default=0, help="sleep after each visit (default: 0)")
    guest.add_argument("--order", default="random", choices=("random", "sequential"), help="of the visits")

    output = parser.add_argument_group("output")
    output.add_argument("--timeout", type=int, default=120, metavar="S", help="for one migration (default: 120)")
    output.add_argument("--docs", type=pathlib.Path, default=lab.ROOT / "docs/benchmarks.md", metavar="FILE",
                        help="where to write the tables (default: docs/benchmarks.md)")
    output.add_argument("--no-docs", action="store_true", help="print the tables only")
    options = parser.parse_args(arguments)
    options.use = options.use or (230 if options.sparse else 600)
    if options.runs < 1 or options.use > options.memory - 96 and not options.sparse:
        parser.error("--runs must be at least 1, and --use leave 96 MiB of --memory to the guest's kernel")
    return options


class Bench:
    def __init__(self, stack, options, arguments):
        self.options = options
        self.command = shlex.join(["scripts/bench", *arguments])
        self.binary = lab.ROOT / "target/qemu" / options.qemu / "qemu-system-x86_64"
        self.net = network.Network(stack, options.rate, options.queue_ms, options.delay_us)
        self.started = datetime.datetime.now()
        folder = lab.ROOT / "target/bench"
        folder.mkdir(parents=True, exist_ok=True)
        self.log_path = folder / f"{self.started:%Y%m%d-%H%M%S}-{os.getpid()}.jsonl"
        self.log = stack.enter_context(open(self.log_path, "w"))
        self.host = host_facts(self.binary)
        self.host["command"] = self.command
        self.host["plain_stream_mbit"] = self.net.plain_stream_mbit()
        self._note({"host": self.host, "options": {key: str(value) for key, value in vars(options).items()}})
        self.results = []
        self.start = time.monotonic()

    def _note(self, entry):
        self.log.write(json.dumps(entry) + "\n")
        self.log.flush()

    def run(self, kinds, guest, rounds, label=None, timeout=None):
        """Migrates `rounds` times with each of the kinds, alternating."""
        results = []
        for number in range(rounds):
            at = number % len(kinds)
            for kind in kinds[at:] + kinds[:at]:
                results.append(self._migrate(kind, guest, f"{number + 1}/{rounds}", label,
                                             timeout or self.options.timeout))
        self.results += results
        return results

    def _migrate(self, kind, guest, round_text, label, timeout):
        """One migration that nothing else on the host disturbed, where the host allows it."""
        for _ in range(ATTEMPTS):
            result = migration.migrate(kind, guest, self.binary, self.net, timeout)
            result["round"] = round_text
            result["memory_mib_guest"] = guest.memory_mib
            if label:
                result["label"] = label
            self._note(result)
            disturbed = result.get("cpu_others_s", 0) > DISTURBED_SHARE * os.cpu_count() * result.get("total_s", 0)
            print(f"{time.monotonic() - self.start:6.0f} s  {label + ', ' if label else ''}{kind.name} {round_text}:"
                  f" {report.one_line(result)}{' (disturbed)' if disturbed else ''}", file=sys.stderr, flush=True)
            if not disturbed or "error" in result or result["wrong_pages"]:
                break
        return result

    def guest(self, memory_mib=None, use_mib=None):
        options = self.options
        return migration.Guest(memory_mib or options.memory, use_mib or options.use, options.hot, options.cold_share,
                               options.spin_us, options.think_us, order=options.order)

    def header(self, title):
        options = self.options
        link = "no rate limit" if options.rate == "none" else f"{options.rate}, queue of {options.queue_ms:g} ms"
        if options.delay_us:
            link += f", {options.delay_us} µs of delay each way"
        link += f"; a plain TCP stream gets {self.host['plain_stream_mbit']:,} Mbit/s"
        think = ", ".join([f"{options.spin_us} µs of spinning"] * bool(options.spin_us)
                          + [f"{options.think_us} µs of sleep"] * bool(options.think_us))
        host = self.host
        return "\n".join([
            f"## {title}", "", f"    {self.command}", "",
            f"- {self.started:%Y-%m-%d}, commit {host['commit']}; QEMU {host['qemu']}, {host['java']}",
            f"- host: {host['cpu']}, {host['cpus']} CPUs, {host['memory_gib']} GiB, Linux {host['kernel']},"
            f" {host['system']}",
            f"- link: {link}, TCP with {host['tcp']}; think time: {think or 'none'}; {options.hot} MiB hot,"
            f" {options.cold_share / 10:g} % of the visits elsewhere", ""])

    def finish(self, section, text):
        print("\n" + text)
        if not self.options.no_docs:
            report.write_section(self.options.docs, section, text)
            print(f"written: {shown(self.options.docs)}", file=sys.stderr)
        print(f"raw results: {shown(self.log_path)}", file=sys.stderr)
        if any(result.get("wrong_pages") for result in self.results):
            raise lab.Failure("a guest found wrong memory")

    def plot_path(self, name):
        return self.options.docs.parent / "benchmarks" / name if not self.options.no_docs else (
            self.log_path.with_name(f"{self.log_path.stem}-{name}"))


def compare(bench):
    options = bench.options
    kinds = [POSTCOPY, PREEMPT, *project_kinds(options)]
    if options.only:
        kinds.append(migration.Kind(PROJECT_TLS, source_flags=shlex.split(options.source_flags),
                                    dest_flags=shlex.split(options.dest_flags), tls=True))
        kinds.append(HYBRID)
        kinds.append(migration.Kind(PROJECT_PRECOPY, source_flags=shlex.split(options.source_flags),
                                    dest_flags=shlex.split(options.dest_flags), ahead=True))
        wanted = [PROJECT if name == "project" else name for name in options.only.split(",")]
        kinds = [kind for kind in kinds if kind.name in wanted or kind.name in
                 [variant.split("=")[0].split("@")[0] for variant in options.variant]]
    results = bench.run(kinds, bench.guest(), options.runs)
    name = {"1gbit": "1gbit", "none": "none"}.get(options.rate, "other")
    image = bench.plot_path(f"stalls-{options.rate if name == 'other' else name}.svg")
    plot.stalls(image, {kind.name: [result["stall_us"] for result in results
                                    if result["kind"] == kind.name and "stall_us" in result] for kind in kinds})
    title = "Without a rate limit" if name == "none" else f"On a link of {options.rate}"
    base = PREEMPT if PREEMPT in kinds else kinds[0]
    text = bench.header(f"{title}: {options.memory} MiB guest, {options.use} MiB in use")
    text += "\n" + report.table(results, kinds, base.name) + f"\n\n![Stalls](benchmarks/{image.name})\n"
    text += failures(results)
    bench.finish(f"compared-{name}", text)
    return 1 if any("error" in result for result in results) else 0


def sparse(bench):
    """The same use in guests of any size: neither time nor RAM files may follow the size."""
    options = bench.options
    sizes = [int(size) for size in options.sparse_memory.split(",")]
    own = project_kinds(options)
    kinds = own + ([PREEMPT] if options.sparse_qemu else [])
    rows = ["| guest, MiB | kind | in use, MiB | STOP until all is there, s | against the smallest |"
            " bytes on the link, MiB | source's RAM file grew, MiB | destination's beyond it, MiB | of what is used |"
            " source agent without the guest's RAM, MiB | destination agent, MiB |",
            "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    first, every = {}, []
    for size in sizes:
        # A guest's kernel keeps 64 bytes for each page of its RAM, which are memory in use like any other: the program
        # gets that much less, as far as that goes.
        kernel_mib = (size - sizes[0]) * 64 // 4096
        use = max(32, options.use - kernel_mib)
        results = bench.run(own, bench.guest(size, use), options.runs, f"{size} MiB")
        if options.sparse_qemu:
            # Once: with a large guest it is not done before the time is out.
            results += bench.run([PREEMPT], bench.guest(size, use), 1, f"{size} MiB")
        every += results
        for kind in kinds:
            good = [result for result in results if result["kind"] == kind.name and "error" not in result]
            bad = [result for result in results if result["kind"] == kind.name and "error" in result]
            if not good:
                grew = [(run["source_file_after"] - run["source_file_before"]) / report.MIB for run in bad
                        if "source_file_after" in run]
                rows.append(f"| {size:,} | {kind.name} | – | {bad[0]['error']} | – | – | {report.text_of(grew, 0)} | – | – | – | – |")
                continue

            def middle(value):
                return statistics.median(value(result) for result in good)

            def agent_mib(who, what):
                return report.text_of([report.nested("memory_mib", who, what)(result) for result in good], 0)

            used = middle(lambda result: result["source_file_before"] / report.MIB)
            total = middle(lambda result: result["total_s"])
            sent = middle(lambda result: sum(result["link_bytes"].values()) / report.MIB)
            grown = middle(report.grown("source_file_after", "source_file_before"))
            beyond = middle(report.grown("dest_file_after", "source_file_before"))
            base = first.setdefault(kind.name, total)
            rows.append(f"| {size:,} | {kind.name} | {used:,.0f} | {total:.2f} | {total / base:.2f} | {sent:,.0f} |"
                        f" {grown:.1f} | {beyond:.1f} | {100 * max(grown, beyond) / used:.1f} % |"
                        f" {agent_mib('source_agent', 'Own')} | {agent_mib('destination_agent', 'VmHWM')} |")
    text = bench.header("Large guests of which little is used") + "\n" + "\n".join(rows) + "\n"
    text += ("\nIn use is what the source's RAM file holds before the migration, the guest's kernel included: it keeps"
             " 64 bytes for each page of RAM, and the guest's program uses that much less, where it can.\n")
    bench.finish("sparse", text + failures(every))
    return 1 if any("error" in result for result in every if result["kind"] != PREEMPT.name) else 0


def sweep_window(bench):
    options = bench.options
    sizes = [bytes_of(size) for size in options.sweep_window.split(",")]
    kinds = [migration.Kind(f"{size // 1024} KiB", None, source_flags=[*shlex.split(options.source_flags),
                                                                       "--bulk-window", str(size)],
                            dest_flags=shlex.split(options.dest_flags)) for size in sizes]
    kinds += [migration.Kind.variant(f"{PROJECT}=", shlex.split(options.source_flags), shlex.split(options.dest_flags))]
    results = bench.run(kinds, bench.guest(), options.runs)
    points = []
    for size, kind in zip(sizes, kinds):
        good = [result for result in results if result["kind"] == kind.name and "error" not in result]
        if good:
            points.append((size, statistics.median(result["stalls"]["p99_us"] for result in good) / 1000,
                           statistics.median(result["link_bytes"]["sent"] / report.MIB / result["total_s"]
                                             for result in good)))
    image = bench.plot_path("window.svg")
    if points:
        plot.window(image, points)
    text = bench.header("Fixed bulk windows") + "\n" + report.table(results, kinds)
    bench.finish("window", text + f"\n\n![Window](benchmarks/{image.name})\n" + failures(results))
    return 1 if any("error" in result for result in results) else 0


def project_kinds(options):
    source_flags, dest_flags = shlex.split(options.source_flags), shlex.split(options.dest_flags)
    own = migration.Kind(PROJECT, None, source_flags=source_flags, dest_flags=dest_flags)
    return [own, *(migration.Kind.variant(text, source_flags, dest_flags) for text in options.variant)]


def failures(results):
    failed = [f"- {result.get('label', '')} {result['kind']} {result['round']}: {result['error']}".replace("-  ", "- ")
              for result in results if "error" in result]
    return "\nRuns that failed:\n\n" + "\n".join(failed) + "\n" if failed else ""


def bytes_of(text):
    match = re.fullmatch(r"(\d+)([KM]?)", text)
    if not match:
        raise lab.Failure(f"'{text}' is no size: 64K, 1M")
    return int(match.group(1)) << {"": 0, "K": 10, "M": 20}[match.group(2)]


def shown(path):
    path = path.resolve()
    return path.relative_to(lab.ROOT) if path.is_relative_to(lab.ROOT) else path


def host_facts(binary):
    def said(*command):
        result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        return (result.stdout or result.stderr).strip()

    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())
    system = dict(line.split("=", 1) for line in pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in line)
    java = said("bash", "-c", f". '{lab.ROOT}/scripts/lib/jdk.sh' && \"$JAVA_HOME/bin/java\" --version").splitlines()
    git = ("git", "-c", f"safe.directory={lab.ROOT}", "-C", lab.ROOT)
    commit = said(*git, "rev-parse", "--short", "HEAD") if (lab.ROOT / ".git").exists() else "unknown"
    if (lab.ROOT / ".git").exists() and said(*git, "status", "--porcelain", "--untracked-files=no", ":!docs/benchmarks*"):
        commit += " with changes"
    version = re.search(r"version (\S+)", said(binary, "--version"))
    return {
        "qemu": version.group(1) if version else "unknown", "java": java[1] if len(java) > 1 else "unknown Java",
        "cpu": cpu.group(1) if cpu else platform.machine(), "cpus": os.cpu_count(),
        "memory_gib": round(int(memory.group(1)) / 2**20), "kernel": platform.release(),
        "system": system.get("PRETTY_NAME", "").strip('"'), "commit": commit,
        "tcp": pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
    }


def main(stack):
    arguments = sys.argv[1:]
    options = options_of(arguments)
    bench = Bench(stack, options, arguments)
    if options.sparse:
        return sparse(bench)
    if options.sweep_window:
        return sweep_window(bench)
    return compare(bench)


if __name__ == "__main__":
    lab.run_main(main)
