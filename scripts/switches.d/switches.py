"""The runs of scripts/switches, once everything is there."""

import argparse
import contextlib
import pathlib
import random
import re
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

import lab

CHUNK = 1 << 20
PAGE = 4096

# A switch comes at any moment from the first page on; the first round of such a guest takes about a second.
LATEST_SWITCH_MS = 1500
RATES_MIB = (30, 60, 120, 1000)

BOOT_SECTOR_RANGE_END = 500


class Difference(Exception):
    """A page that is not what was last written to it."""


class Linux:
    """Two thirds of its memory are written to without a pause, under TCG."""

    name = "linux"
    memory_mib = 224
    parameters = "pc.mem_mib=96 pc.hot_mib=48 pc.cold_share=300 pc.zero_mib=8"
    machine = None
    written_at_destination = ()

    @staticmethod
    def await_ready(qemu):
        qemu.await_guest()

    @staticmethod
    def check(qemu):
        verdict = lab.values_of(qemu.ask("verify", "VERIFY")[-1])
        if int(verdict["errors"]) or int(verdict["worker_errors"]):
            raise Difference(f"memory is wrong: {verdict}")


class BootSector:
    """Increments a byte of each page in turn without a pause, under KVM."""

    name = "boot sector"
    memory_mib = 64
    end_mib = 40
    parameters = ""
    # SeaBIOS has KVM's clock there, which the destination's kernel writes when it is loaded.
    written_at_destination = (0xE8,)

    def __init__(self, folder):
        image = bytearray((lab.ROOT / "target/guest/boot-sector.bin").read_bytes())
        struct.pack_into("<I", image, BOOT_SECTOR_RANGE_END, self.end_mib << 20)
        path = folder / "boot-sector.bin"
        path.write_bytes(image)
        self.machine = ["-accel", "kvm", "-cpu", "host,-arch-capabilities",
                        "-drive", f"file={path},format=raw,if=ide,file.locking=off,snapshot=on"]

    def await_ready(self, qemu):
        """The firmware leaves all of these pages at zero."""
        deadline = time.monotonic() + 120
        while self._rounds(qemu)[-1] == 0:
            if time.monotonic() > deadline:
                raise lab.Failure(f"the boot sector does not run: {qemu.log()}")
            time.sleep(0.5)

    def _rounds(self, qemu):
        with open(qemu.ram_path, "rb") as file:
            file.seek(1 << 20)
            return file.read((self.end_mib - 1) << 20)[::PAGE]

    def check(self, qemu):
        """Stopped, all pages are at one round, or one step apart at the page that it was at."""
        time.sleep(0.3)
        qemu.qmp("stop")
        rounds = self._rounds(qemu)
        steps = [(before, after) for before, after in zip(rounds, rounds[1:]) if before != after]
        if len(steps) > 1 or any(after != (before - 1) & 0xFF for before, after in steps):
            raise Difference(f"pages are at more than two rounds: {steps[:5]}")
        qemu.qmp("cont")


def options_of():
    parser = argparse.ArgumentParser(
        prog="scripts/switches", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Moves guests that write at full speed, with memory that goes ahead, at moments that the seed"
                    " chooses;\neach is left paused at the destination, and the RAM files are compared byte by byte.",
        epilog="Exit code 0: no byte differed.")
    parser.add_argument("--seed", default="1", help="of the moments (default: 1)")
    parser.add_argument("--runs", type=int, default=20, help="how many migrations (default: 20)")
    parser.add_argument("--guest", default="both", choices=("linux", "kvm", "both"),
                        help="Linux under TCG, a boot sector under KVM, or both in turn (default: both)")
    parser.add_argument("--qemu", default="10.0", help="which QEMU, as scripts/fetch names them (default: 10.0)")
    return parser.parse_args()


def main(stack):
    options = options_of()
    folder = lab.temporary_folder(stack, "postcopy-switches-")
    binary = lab.ROOT / "target/qemu" / options.qemu / "qemu-system-x86_64"
    guests = {"linux": [Linux()], "kvm": [BootSector(folder)], "both": [Linux(), BootSector(folder)]}[options.guest]
    chains = [Chain(stack, folder, binary, guest, number) for number, guest in enumerate(guests)]
    differences = not_moved = 0
    taken_back = in_flight = 0
    began = time.monotonic()
    for run in range(1, options.runs + 1):
        chain = chains[run % len(chains)]
        chosen = random.Random(f"{options.seed}-{run}")
        start = time.monotonic()
        try:
            story = chain.switch(chosen, run)
            verdict = "same"
        except lab.Failure as failure:
            # A host that is too busy for a QEMU's monitor to answer, say: as long as the guest goes on here, nothing is
            # lost, and nothing was shown.
            if chain.source.qmp("query-status")["status"] != "running":
                raise
            not_moved += 1
            story, verdict = chain.story, f"not moved: {failure}"
        except Difference as difference:
            differences += 1
            story = chain.story
            verdict = f"DIFFERENT: {difference}"
            chain.start_again()
        taken_back += story.taken_back
        in_flight += story.in_round
        print(f"{run:>4}  {chain.guest.name:<11}  {time.monotonic() - start:5.1f} s  {story}  {verdict}", flush=True)
    print(f"\nseed {options.seed}: {options.runs - not_moved} switches in {time.monotonic() - began:.0f} s, {in_flight} of them in the"
          f" middle of a round, {taken_back} pages taken back at the stop; {differences} differed")
    return 1 if differences else 0


class Story:
    """What one switch was like."""

    def __init__(self, after_ms, rate_mib, rounds):
        self.after_ms = after_ms
        self.rate_mib = rate_mib
        self.rounds = rounds
        self.taken_back = 0
        self.in_round = False

    def read(self, agent):
        for line in agent.err.since():
            if found := re.search(r"(\d+) pages were written to before the guest stopped", line.text):
                self.taken_back = int(found[1])
            self.in_round |= "in the middle of round" in line.text

    def __str__(self):
        how = f"after {self.after_ms} ms" if self.after_ms is not None else f"after {self.rounds} rounds"
        return f"{how:<15} {self.rate_mib:>5} MiB/s {self.taken_back:>6} taken back"


class Chain:
    """A guest that goes from QEMU to QEMU: each destination is the next source."""

    def __init__(self, stack, folder, binary, guest, number):
        self.stack = stack
        self.folder = folder
        self.binary = binary
        self.guest = guest
        self.number = number
        self.count = 0
        self.start_again()

    def start_again(self):
        self.source_stack = self.stack.enter_context(contextlib.ExitStack())
        self.source = self._qemu(self.source_stack, incoming=False)
        self.guest.await_ready(self.source)

    def _qemu(self, stack, incoming):
        self.count += 1
        return lab.Qemu(stack, f"vm{self.number}-{self.count}", self.folder, self.binary, self.guest.memory_mib,
                        self.guest.parameters, incoming=incoming, machine=self.guest.machine)

    def switch(self, chosen, run):
        after_ms = chosen.randrange(LATEST_SWITCH_MS) if chosen.random() < 0.8 else None
        self.story = story = Story(after_ms, chosen.choice(RATES_MIB), chosen.choice((1, 2, 3)))
        next_stack = self.stack.enter_context(contextlib.ExitStack())
        with contextlib.ExitStack() as agents, contextlib.ExitStack() as unless_moved:
            unless_moved.callback(next_stack.close)
            destination = self._qemu(next_stack, incoming=True)
            state = ["-v", "--json", "--state-dir", self.folder / "state"]
            receiving = lab.Agent(agents, "dest-agent", [
                lab.ROOT / "scripts/dest-agent", "receive", "--qmp", destination.qmp_path, "--listen", "127.0.0.1:0",
                *state])
            moment = ["--precopy", "1000", "--switch-after", after_ms] if after_ms is not None else [
                "--precopy", story.rounds]
            sending = lab.Agent(agents, "source-agent", [
                lab.ROOT / "scripts/source-agent", "migrate", "--qmp", self.source.qmp_path, "--to",
                f"127.0.0.1:{receiving.await_listening()}", *moment, "--leave-paused", "--max-bandwidth",
                f"{story.rate_mib}M", *state])
            for agent in (sending, receiving):
                if agent.wait(120) != 0:
                    raise lab.Failure(f"run {run}: {agent.name} ended with {agent.code}: {agent.messages()}")
            story.read(sending)
            unless_moved.pop_all()
        compare(self.source.ram_path, destination.ram_path, self.guest.written_at_destination)
        self.source_stack.close()
        self.source, self.source_stack = destination, next_stack
        destination.qmp("cont")
        self.guest.check(destination)
        return story


def compare(left, right, exceptions):
    """All pages but the exceptions; a hole reads as zeros, and reading it does not fill it."""
    with open(left, "rb") as one, open(right, "rb") as other:
        at = 0
        while chunk := one.read(CHUNK):
            found = other.read(CHUNK)
            if chunk != found:
                pages = [at // PAGE + page for page in range(len(chunk) // PAGE)
                         if chunk[page * PAGE:(page + 1) * PAGE] != found[page * PAGE:(page + 1) * PAGE]
                         and at // PAGE + page not in exceptions]
                if pages:
                    raise Difference(f"pages {pages[:8]}")
            at += len(chunk)


if __name__ == "__main__":
    lab.run_main(main)
