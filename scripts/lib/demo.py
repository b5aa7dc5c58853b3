"""What scripts/demo shows, once everything is there."""

import argparse
import os
import re
import subprocess
import sys
import time

import lab

SOURCE, DESTINATION = "source", "destination"


class Screen:
    """Prints what happens while it happens, with the time since the start and the side that says it."""

    def __init__(self):
        self.start = time.time()
        styled = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.styles = {SOURCE: "36", DESTINATION: "32", "": "1"} if styled else {}

    def show(self, text, side="", at=None):
        seconds = (at or time.time()) - self.start
        label = f"{side:<11}"
        if side in self.styles:
            label = f"\033[{self.styles[side]}m{label}\033[0m"
        print(f"{seconds:7.3f} s  {label}  {text}".rstrip(), flush=True)

    def title(self, text):
        print(f"\n{text}\n" if "" not in self.styles else f"\n\033[1m{text}\033[0m\n", flush=True)


class Heartbeats:
    """Shows the guest's heartbeats as they come: every third, and all of those around the switch-over."""

    def __init__(self, screen, side):
        self.screen = screen
        self.side = side
        self.seen = 0
        self.unshown = None
        self.show_all = False

    def on_line(self, line):
        if line.text.startswith("CORRUPT"):
            self.screen.show(line.text, self.side, line.at)
        if not line.text.startswith("HB "):
            return
        self.seen += 1
        if self.seen % 3 == 1 or self.show_all or self.side == DESTINATION and self.seen <= 4:
            self._show(line)
            self.unshown = None
        else:
            self.unshown = line

    def stopped(self):
        """The last one before the stop may have been seen already, or come from its own socket a little later."""
        self.show_all = True
        if self.unshown:
            self._show(self.unshown)
            self.unshown = None

    def _show(self, line):
        beat = lab.Heartbeat(line)
        self.screen.show(
            f"heartbeat {beat.sequence:>4}   {beat.ops:>9,} pages rewritten   {beat.errors} wrong", self.side, line.at)


def main(stack):
    parser = argparse.ArgumentParser()
    parser.add_argument("--qemu", default="installed")
    parser.add_argument("--memory", type=int, default=512)
    parser.add_argument("--use", type=int, default=256)
    options = parser.parse_args()
    if options.use > options.memory - 96:
        raise lab.Failure("the guest needs 96 MiB for itself: choose a smaller --use or a larger --memory")

    binary = lab.ROOT / "target/qemu" / options.qemu / "qemu-system-x86_64"
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"version (\S+)", version).group(1)
    screen = Screen()
    screen.title(f"Two QEMUs {version} on this machine, and a Linux guest with {options.memory} MiB"
                 f" that rewrites and checks {options.use} MiB of it all the time")

    def on_event(qemu, name, at, _data):
        if name == "STOP" and qemu.name == SOURCE:
            beats[SOURCE].stopped()
            screen.show("STOP: the guest no longer runs here", SOURCE, at)
        if name == "RESUME" and qemu.name == DESTINATION:
            screen.show("RESUME: it runs here, its memory follows", DESTINATION, at)

    folder = lab.temporary_folder(stack, "postcopy-demo-")
    beats = {side: Heartbeats(screen, side) for side in (SOURCE, DESTINATION)}
    parameters = f"pc.mem_mib={options.use} pc.hot_mib={max(options.use // 8, 1)} pc.cold_share=200 pc.think_us=100"
    source = lab.Qemu(stack, SOURCE, folder, binary, options.memory, parameters, on_event=on_event,
                      on_serial=beats[SOURCE].on_line)
    destination = lab.Qemu(stack, DESTINATION, folder, binary, options.memory, parameters, incoming=True,
                           on_event=on_event, on_serial=beats[DESTINATION].on_line)
    screen.show("the guest boots", SOURCE)
    source.await_guest()
    time.sleep(2)

    dest_agent = lab.Agent(stack, "dest-agent", [
        lab.ROOT / "scripts/dest-agent", "receive", "--qmp", destination.qmp_path, "--listen", "127.0.0.1:0", "--json"])
    port = dest_agent.await_listening()
    screen.show(f"$ dest-agent receive --qmp {destination.qmp_path} --listen 127.0.0.1:{port}", DESTINATION)
    screen.show(f"$ source-agent migrate --qmp {source.qmp_path} --to 127.0.0.1:{port}", SOURCE)
    source_agent = lab.Agent(stack, "source-agent", [
        lab.ROOT / "scripts/source-agent", "migrate", "--qmp", source.qmp_path, "--to", f"127.0.0.1:{port}", "--json"])
    code = source_agent.wait(120)
    if code != 0:
        raise lab.Failure(f"source-agent ended with {code}: {source_agent.messages()}")
    screen.show("source-agent ends: the destination has everything", SOURCE)
    code = dest_agent.wait(30)
    if code != 0:
        raise lab.Failure(f"dest-agent ended with {code}: {dest_agent.messages()}")
    screen.show("dest-agent ends", DESTINATION)
    end_process(source, screen)
    time.sleep(1)
    screen.show("asked to check every page", DESTINATION)
    verdict = lab.values_of(destination.ask("verify", "VERIFY")[-1])
    wrong = int(verdict["errors"]) + int(verdict["worker_errors"])

    report, _ = dest_agent.report()
    downtime_ms = 1000 * (destination.event("RESUME", 1) - source.event("STOP", 1))
    before = lab.Heartbeat.all_of(source.serial.since())
    after = lab.Heartbeat.all_of(destination.serial.since())
    went_on = len(after) >= 5 and after[0].sequence == before[-1].sequence + 1 and after[-1].ops > before[-1].ops
    show_result(screen, report, downtime_ms, before, after, verdict, wrong)
    if wrong:
        raise lab.Failure("the guest found wrong memory")
    if not went_on:
        raise lab.Failure("the guest's heartbeats do not go on at the destination where they ended at the source")
    return 0


def end_process(qemu, screen):
    """The guest no longer needs its old QEMU, and the demo shows that."""
    qemu.process.terminate()
    qemu.process.wait()
    screen.show("its QEMU is ended too", qemu.name)


def show_result(screen, report, downtime_ms, before, after, verdict, wrong):
    latency = report["fault_latency_us"]
    pages = report["pages"]
    screen.title("Result")
    rows = [
        ("downtime", f"{downtime_ms:.1f} ms   from QEMU's STOP event at the source to its RESUME at the destination"),
        ("all memory there", f"{report['total_ms'] / 1000:.2f} s after STOP, {report['bytes_sent'] / 2**20:.0f} MiB sent"),
        ("page faults", f"{report['faults']:,}   answered in {latency['p50'] / 1000:.2f} ms (median),"
                        f" {latency['p99'] / 1000:.2f} ms (p99), {latency['max'] / 1000:.2f} ms (longest)"),
        ("pages", f"{pages['demand']:,} on demand, {pages['pushed']:,} in the background,"
                  f" {pages['zero']:,} zero and not sent, {pages['duplicate']:,} sent twice"),
        ("heartbeats", f"{before[0].sequence} to {before[-1].sequence} at the source,"
                       f" {after[0].sequence} to {after[-1].sequence} at the destination"),
        ("the guest's check", f"{'WRONG' if wrong else 'ok'}: {int(verdict['pages']):,} pages compared word by word,"
                              f" {wrong} wrong"),
    ]
    for name, text in rows:
        print(f"  {name:<18} {text}")
    print(flush=True)


if __name__ == "__main__":
    lab.run_main(main)
