"""The runs of scripts/switches, once everything is there."""

import argparse
import collections
import concurrent.futures
import contextlib
import pathlib
import random
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

import lab
from daemon import UNLIMITED, Daemon, Gone, Refused

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
                        help="Linux under TCG, a boot sector under KVM, or both at a time (default: both)")
    parser.add_argument("--qemu", default="10.0", help="which QEMU, as scripts/fetch names them (default: 10.0)")
    return parser.parse_args()


def main(stack):
    options = options_of()
    folder = lab.temporary_folder(stack, "postcopy-switches-")
    binary = lab.ROOT / "target/qemu" / options.qemu / "qemu-system-x86_64"
    guests = {"linux": [Linux()], "kvm": [BootSector(folder)], "both": [Linux(), BootSector(folder)]}[options.guest]
    chains = [Chain(stack, folder, binary, guest, number) for number, guest in enumerate(guests)]
    # What is begun last ends first: without the agents each chain comes to an end soon, and is waited for.
    workers = stack.enter_context(concurrent.futures.ThreadPoolExecutor(len(chains)))
    agents = Agents(stack, folder)
    began = time.monotonic()
    moving = [workers.submit(move_on, chain, agents, options.seed,
                             [run for run in range(1, options.runs + 1) if chains[run % len(chains)] is chain])
              for chain in chains]
    ended, _ = concurrent.futures.wait(moving, return_when=concurrent.futures.FIRST_EXCEPTION)
    counts = sum((future.result() for future in ended), collections.Counter())
    print(f"\nseed {options.seed}: {counts['moved']} switches in {time.monotonic() - began:.0f} s,"
          f" {counts['in_round']} of them in the middle of a round, {counts['taken_back']} pages taken back at the"
          f" stop; {counts['differed']} differed")
    return 1 if counts["differed"] else 0


def move_on(chain, agents, seed, runs):
    """All runs of a chain, on a thread of its own."""
    counts = collections.Counter()
    for run in runs:
        story = Story(random.Random(f"{seed}-{run}"))
        start = time.monotonic()
        try:
            chain.switch(agents, story)
            counts["moved"] += 1
            verdict = "same"
        except Gone:
            raise
        except lab.Failure as failure:
            agents.require_serving()
            # A host that is too busy for a QEMU's monitor to answer, say: as long as the guest goes on here, nothing is
            # lost, and nothing was shown.
            if chain.source.qmp("query-status")["status"] != "running":
                raise lab.Failure(f"run {run}: {failure}") from None
            verdict = f"not moved: {failure}"
        except Difference as difference:
            counts.update(moved=1, differed=1)
            verdict = f"DIFFERENT: {difference}"
            chain.start_again()
        counts.update(in_round=story.in_round, taken_back=story.taken_back)
        line = f"{run:>4}  {chain.guest.name:<11}  {time.monotonic() - start:5.1f} s  {story}  {verdict}"
        # In one piece with its end: the other chain prints too.
        print(f"{line}\n", end="", flush=True)
    chain.end()
    return counts


class Story:
    """What one switch is to be like, and what it was like."""

    def __init__(self, chosen):
        self.after_ms = chosen.randrange(LATEST_SWITCH_MS) if chosen.random() < 0.8 else None
        self.rate_mib = chosen.choice(RATES_MIB)
        self.rounds = chosen.choice((1, 2, 3))
        self.taken_back = 0
        self.in_round = False

    def moment(self):
        """In the words of the source agent."""
        if self.after_ms is None:
            return {"precopy": str(self.rounds)}
        return {"precopy": "1000", "switch_after_ms": self.after_ms}

    def __str__(self):
        how = f"after {self.after_ms} ms" if self.after_ms is not None else f"after {self.rounds} rounds"
        return f"{how:<15} {self.rate_mib:>5} MiB/s {self.taken_back:>6} taken back"


class Agents:
    """Both agents, which serve all chains."""

    def __init__(self, stack, folder):
        state = folder / "state"
        self.incoming = folder / "incoming"
        self.incoming.mkdir()
        self.destination = Daemon(stack, "dest-agent", state, "--listen", "127.0.0.1:0", "--vm-dir", self.incoming)
        self.source = Daemon(stack, "source-agent", state, "--leave-paused")
        self.source.await_ready()
        self.port = self.destination.agent.await_listening()

    def require_serving(self):
        for agent in (self.source, self.destination):
            agent.require_serving()

    def move(self, source, destination, story):
        """The source's name is also the one that the destination is known by."""
        vm = source.qmp_path.name
        waiting = self.incoming / vm
        waiting.symlink_to(destination.qmp_path)
        log = self.source.agent.err
        start = log.count()
        try:
            limited = True
            for state in self.source.follow("migrate", str(source.qmp_path), to=f"127.0.0.1:{self.port}", follow=True,
                                            bytes_per_second=story.rate_mib << 20, **story.moment()):
                if limited and state["phase"] == "draining":
                    limited = False
                    # It may be over by now.
                    with contextlib.suppress(Refused):
                        self.source.tell("set-max-bandwidth", vm, bytes_per_second=UNLIMITED)
            for _ in self.destination.follow("follow", vm):
                pass
        finally:
            waiting.unlink()
        story.taken_back = state["report"]["precopy"]["pages_taken_back_at_stop"]
        log.wait(lambda text: f"the migration of {vm} is completed" in text, f"{vm}: the end in the log", 10, start)
        # The thread's name, which ends in that of the VM, is in each line.
        story.in_round = any(f" {vm} " in line.text and "in the middle of round" in line.text
                             for line in log.since(start))


class Chain:
    """A guest that goes from QEMU to QEMU: each destination is the next source."""

    def __init__(self, stack, folder, binary, guest, number):
        self.stack = stack.enter_context(contextlib.ExitStack())
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

    def end(self):
        self.stack.close()

    def switch(self, agents, story):
        next_stack = self.stack.enter_context(contextlib.ExitStack())
        with contextlib.ExitStack() as unless_moved:
            unless_moved.callback(next_stack.close)
            destination = self._qemu(next_stack, incoming=True)
            agents.move(self.source, destination, story)
            unless_moved.pop_all()
        compare(self.source.ram_path, destination.ram_path, self.guest.written_at_destination)
        self.source_stack.close()
        self.source, self.source_stack = destination, next_stack
        destination.qmp("cont")
        self.guest.check(destination)


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
