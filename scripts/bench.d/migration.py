"""One migration of a fresh guest, by QEMU itself or by the agents, and everything that is measured about it."""

import contextlib
import math
import os
import shlex
import shutil
import subprocess
import time

import certificates
import lab
import network
import usage

# An access to a page is a stall when it takes this much longer than the typical one took before the migration.
STALL_US = 100
BASELINE_S = 3
# After all memory is there: so long until the guest's lost time is summed up.
SETTLE_S = 1
# The stalls that a cold start would show in.
FIRST_STALLS = 100


class Kind:
    """What is compared: QEMU's own post-copy, with or without preemption, or a variant of this project."""

    def __init__(self, name, preempt=None, root=lab.ROOT, environment=(), source_flags=(), dest_flags=(), tls=False,
                 ahead=False):
        self.name = name
        self.by_qemu = preempt is not None
        self.preempt = preempt
        self.root = root
        self.environment = dict(environment)
        self.source_flags = list(source_flags)
        self.dest_flags = list(dest_flags)
        self.tls = tls
        self.ahead = ahead
        self._help = None

    def knows(self, option):
        """Whether the source agent there has such an option, and so has to be told where it shall not be so."""
        if self._help is None:
            told = subprocess.run([self.root / "scripts/source-agent", "migrate", "--help"], capture_output=True, text=True)
            self._help = told.stdout
        return option in self._help

    @staticmethod
    def variant(text, source_flags=(), dest_flags=()):
        """NAME[@FOLDER]=[KEY=VALUE ...] [source agent's flags] [-- dest agent's flags]"""
        name, separator, flags = text.partition("=")
        if not name or not separator:
            raise lab.Failure(f"--variant '{text}': expected NAME=FLAGS")
        name, _, folder = name.partition("@")
        words = shlex.split(flags)
        environment = []
        while words and not words[0].startswith("-") and "=" in words[0]:
            environment.append(words.pop(0).split("=", 1))
        at = words.index("--") if "--" in words else len(words)
        root = lab.pathlib.Path(folder) if folder else lab.ROOT
        if not (root / "scripts/source-agent").exists():
            raise lab.Failure(f"--variant '{text}': {root} has no scripts/source-agent")
        return Kind(name, None, root, environment, [*source_flags, *words[:at]], [*dest_flags, *words[at + 1:]])


class Guest:
    """Size and work of the guest."""

    def __init__(self, memory_mib, use_mib, hot_mib, cold_share, spin_us, think_us, threads=1, order="random"):
        self.memory_mib = memory_mib
        self.parameters = (
            f"pc.mem_mib={use_mib} pc.hot_mib={min(hot_mib, use_mib)} pc.cold_share={cold_share} pc.spin_us={spin_us}"
            f" pc.think_us={think_us} pc.threads={threads} pc.order={order} pc.stall_us={STALL_US}"
            f" pc.trace_us={STALL_US}")


class Migration:
    def __init__(self, stack, kind, guest, binary, net, timeout):
        self.stack = stack
        self.kind = kind
        self.guest = guest
        self.binary = binary
        self.net = net
        self.timeout = timeout
        self.result = {"kind": kind.name}
        self.snapshots = {}
        self.agents = {}

    # ---- the course of it -------------------------------------------------------------------------------------------

    def run(self):
        folder = lab.temporary_folder(self.stack, "postcopy-bench-")
        self.source = self._qemu("source", folder)
        self.destination = self._qemu("destination", folder, incoming=True)
        self.threads = {qemu.name: qemu.qmp("query-cpus-fast")[0]["thread-id"]
                        for qemu in (self.source, self.destination)}
        if self.kind.by_qemu:
            self._prepare_qemu()
        else:
            self.kind.knows("--insecure")
        boot = time.time()
        self.source.await_guest()
        self.result["boot_s"] = time.time() - boot
        self._measure_baseline()
        self._measure_start()
        self.peaks = usage.MemoryPeaks({qemu.name + "_qemu": qemu.pid for qemu in (self.source, self.destination)})
        try:
            if self.kind.by_qemu:
                self._migrate_by_qemu()
            else:
                self._migrate_by_agents(folder)
            self.result["source_file_after"] = self.source.ram_file_bytes()
            self.result["dest_file_after"] = self.destination.ram_file_bytes()
        finally:
            memory = self.peaks.stop()
        self.result["memory_mib"] = memory
        self._measure_link()
        self._measure_times()
        self._measure_cpu()
        self._measure_stalls()
        verdict = lab.values_of(self.destination.ask("verify", "VERIFY")[-1])
        self.result["wrong_pages"] = int(verdict["errors"]) + int(verdict["worker_errors"])
        self.result["verified_pages"] = int(verdict["pages"])
        return self.result

    def _qemu(self, name, folder, incoming=False):
        return lab.Qemu(self.stack, name, folder, self.binary, self.guest.memory_mib, self.guest.parameters, incoming,
                        self.net.names[name], on_event=self._on_event)

    def _on_event(self, qemu, name, _at, data):
        if name == "RESUME" and qemu.name == "destination":
            # Not at STOP: it takes a processor for a millisecond, and the guest would wait for that.
            self._take_snapshot("resume")
        elif (name == "MIGRATION" and data["status"] == "completed" and qemu.name == "destination"
              and self.kind.by_qemu):
            # For the agents QEMU's own migration is only the device state.
            self._take_snapshot("done")

    def _prepare_qemu(self):
        capabilities = [{"capability": name, "state": True}
                        for name in ("events", "postcopy-ram", *(["postcopy-preempt"] if self.kind.preempt else []))]
        for qemu in (self.source, self.destination):
            qemu.qmp("migrate-set-capabilities", capabilities=capabilities)
        # QEMU's default limit of 128 MiB/s is for the pre-copy phase, of which there is next to nothing.
        self.source.qmp("migrate-set-parameters", max_bandwidth=10 << 30)
        self.destination.qmp("migrate-incoming", uri=f"tcp:{network.ADDRESSES['destination']}:4444")

    def _migrate_by_qemu(self):
        self.source.qmp("migrate", uri=f"tcp:{network.ADDRESSES['destination']}:4444")
        if self.kind.ahead:
            self._await_first_pass()
        # Else at once: no round of pre-copy. It is accepted from the moment that the migration has been set up.
        self.source.qmp("migrate-start-postcopy")
        self.done_at = self._await_completed(self.destination)
        self._await_completed(self.source)
        info = self.source.qmp("query-migrate")
        self.result["qemu"] = {"setup_ms": info.get("setup-time"), "downtime_ms": info.get("downtime"),
                               "total_ms": info.get("total-time"), "ram": info.get("ram")}

    def _await_first_pass(self):
        """The dirty log is looked at when the migration begins, and again when all memory was sent once."""
        deadline = time.monotonic() + self.timeout
        while self.source.qmp("query-migrate").get("ram", {}).get("dirty-sync-count", 0) < 2:
            if time.monotonic() > deadline:
                raise lab.Failure(f"no first pass after {self.timeout} s")
            time.sleep(0.005)

    def _await_completed(self, qemu):
        deadline = time.monotonic() + self.timeout
        while True:
            for name, at, data in list(qemu.events):
                if name == "MIGRATION" and data["status"] == "completed":
                    return at
                if name == "MIGRATION" and data["status"] in ("failed", "postcopy-paused", "cancelled"):
                    raise lab.Failure(f"{qemu.name}: migration {data['status']}: {qemu.log()}")
            if time.monotonic() > deadline:
                # Where it was then is a result too.
                self.result["source_file_after"] = self.source.ram_file_bytes()
                self.result["dest_file_after"] = self.destination.ram_file_bytes()
                raise lab.Failure(f"not done after {self.timeout} s")
            time.sleep(0.01)

    def _migrate_by_agents(self, folder):
        certificate_folder = folder / "tls"
        if self.kind.tls:
            certificates.make(certificate_folder, {side: f"IP:{address}" for side, address in network.ADDRESSES.items()})

        state = lab.SHARED_MEMORY / f"{folder.name}-state"
        self.stack.callback(shutil.rmtree, state, ignore_errors=True)

        def agent(side, script, *words):
            environment = {**os.environ, **self.kind.environment}
            # As on any host with systemd, where the default, a folder in /run, is on tmpfs; in a container it may be on
            # a disk, and then each journal entry waits for that.
            words = [*words, "--state-dir", state, "--json"]
            started = lab.Agent(self.stack, script, [self.kind.root / "scripts" / script, *words],
                                self.net.names[side], environment)
            self.agents[side] = started
            self.peaks.watch(side + "_agent", started.pid)
            return started

        dest = agent("destination", "dest-agent", "receive", "--qmp", self.destination.qmp_path, "--listen",
                     f"{network.ADDRESSES['destination']}:0", *self._protection(certificate_folder, "destination"),
                     *self.kind.dest_flags)
        dest.out.on_line = lambda line: self._take_snapshot("done") if line.text.startswith("{") else None
        port = dest.await_listening()
        self.result["dest_agent_start_s"] = time.time() - self.command_at
        source = agent("source", "source-agent", "migrate", "--qmp", self.source.qmp_path, "--to",
                       f"{network.ADDRESSES['destination']}:{port}", *self._protection(certificate_folder, "source"),
                       *self._precopy(), *self.kind.source_flags)
        for which in (source, dest):
            code = which.wait(self.timeout)
            if code != 0:
                raise lab.Failure(f"{which.name} ended with {code}: {which.messages()}")
        self.result["report"], self.done_at = dest.report()

    def _precopy(self):
        if self.kind.ahead or "--precopy" in self.kind.source_flags or not self.kind.knows("--precopy"):
            return []
        return ["--precopy", "off"]

    def _protection(self, certificate_folder, side):
        if self.kind.tls:
            return ["--tls-dir", certificate_folder / side]
        flags = self.kind.source_flags + self.kind.dest_flags
        return ["--insecure"] if self.kind.knows("--insecure") and "--tls-dir" not in flags else []

    # ---- what is measured -------------------------------------------------------------------------------------------

    def _measure_baseline(self):
        """The guest's speed, and the times of its accesses, while nothing else happens."""
        time.sleep(1)
        self.source.ask("reset", "RESET")
        time.sleep(BASELINE_S)
        beats = [beat for beat in lab.Heartbeat.all_of(self.source.serial.since())
                 if beat.at > time.time() - BASELINE_S]
        self.ops_per_s = (beats[-1].ops - beats[0].ops) / (beats[-1].at - beats[0].at)
        typical = lab.values_of(self.source.ask("hist", "HIST ")[-1])
        self.typical_us = float(typical["p50_us"])
        noise = [took for _, took in read_stalls(self.source.ask("stalls", "STALLS "))[0]
                 if took > self.typical_us + STALL_US]
        self.result["baseline"] = {"ops_per_s": self.ops_per_s, "access_us": self.typical_us,
                                   "stalls_per_s": len(noise) / BASELINE_S}
        self.source.ask("reset", "RESET")
        time.sleep(0.5)

    def _measure_start(self):
        self.result["source_file_before"] = self.source.ram_file_bytes()
        self.link_before = self.net.link_bytes(self.source.pid)
        self._take_snapshot("command")
        self.command_at = time.time()

    def _take_snapshot(self, name):
        """CPU seconds of all processes, and of the guest itself, at this moment."""
        if name in self.snapshots:
            return
        pids = {"source_qemu": self.source.pid, "destination_qemu": self.destination.pid}
        pids.update({side + "_agent": agent.pid for side, agent in self.agents.items()})
        snapshot = {who: usage.cpu_seconds(pid) for who, pid in pids.items()}
        for qemu in (self.source, self.destination):
            snapshot[qemu.name + "_vcpu"] = usage.cpu_seconds(qemu.pid, self.threads[qemu.name])
        snapshot["host"] = usage.host_busy_seconds()
        self.snapshots[name] = snapshot

    def _measure_times(self):
        stop = self.source.event("STOP", 1)
        resume = self.destination.event("RESUME", 1)
        self.stop_at = stop
        before = [beat for beat in lab.Heartbeat.all_of(self.source.serial.since()) if beat.at < stop]
        time.sleep(max(0.0, self.done_at + SETTLE_S - time.time()))
        self.destination.serial.wait(lambda text: text.startswith("HB "), "a heartbeat", 60,
                                     self.destination.serial.count())
        after = lab.Heartbeat.all_of(self.destination.serial.since())
        last = after[-1]

        def lost(start_at, start_ops, end_at, end_ops):
            return (end_at - start_at) - (end_ops - start_ops) / self.ops_per_s

        # Between two heartbeats the guest still worked at the speed that it had last.
        def ops_at(moment):
            earlier = [beat for beat in before if beat.at <= moment][-2:]
            speed = (earlier[1].ops - earlier[0].ops) / (earlier[1].at - earlier[0].at)
            return earlier[1].ops + speed * (moment - earlier[1].at)

        self.result.update(
            command_to_stop_s=stop - self.command_at,
            downtime_ms=1000 * (resume - stop),
            total_s=self.done_at - stop,
            lost_s=lost(stop, ops_at(stop), last.at, last.ops),
            lost_before_stop_s=lost(self.command_at, ops_at(self.command_at), stop, ops_at(stop)),
            first_heartbeat_ms=1000 * (after[0].at - resume),
        )

    def _measure_stalls(self):
        stalls, origin = read_stalls(self.destination.ask("stalls", "STALLS "))
        # The guest's clock stands still while it is stopped: by that clock the stop is a moment, and the last
        # heartbeats at the source say which.
        offset = min(beat.at - beat.guest_s for beat in lab.Heartbeat.all_of(self.source.serial.since())[-20:])
        stop_us = (self.stop_at - offset - origin) * 1e6
        # Its clock runs on with the host's again from the resume on.
        end_us = stop_us + (self.done_at - self.stop_at) * 1e6 - self.result["downtime_ms"] * 1000
        in_order = [took for at, took in sorted(stalls)
                    if took > self.typical_us + STALL_US and at + took > stop_us and at < end_us]
        during = sorted(in_order)
        first, rest = sorted(in_order[:FIRST_STALLS]), sorted(in_order[FIRST_STALLS:])
        self.result["stalls"] = {
            "count": len(during),
            "sum_s": sum(during) / 1e6,
            "p50_us": quantile(during, 0.5), "p90_us": quantile(during, 0.9), "p99_us": quantile(during, 0.99),
            "max_us": during[-1] if during else 0,
        }
        if rest:
            self.result["stalls"].update(first_p99_us=quantile(first, 0.99), rest_p99_us=quantile(rest, 0.99))
        self.result["stall_us"] = in_order

    def _measure_link(self):
        after = self.net.link_bytes(self.source.pid)
        self.result["link_bytes"] = {"sent": after[0] - self.link_before[0], "received": after[1] - self.link_before[1]}

    def _measure_cpu(self):
        """CPU seconds of each process: all of it, and what was after the guest ran at the destination; and what the guest took."""
        command, resume, done = (self.snapshots[name] for name in ("command", "resume", "done"))
        cpu = {}
        for who in done:
            if who == "host":
                continue
            end = done[who]
            if who.endswith("_agent"):
                used = self.agents[who.removesuffix("_agent")].usage
                total = used.ru_utime + used.ru_stime
                cpu[who] = {"all": total, "after_resume": (total if end is None else end) - (resume.get(who) or 0)}
            else:
                cpu[who] = {"all": end - command[who], "after_resume": end - resume[who]}
        self.result["cpu_s"] = cpu
        ours = sum(used["after_resume"] for who, used in cpu.items() if not who.endswith("_vcpu"))
        self.result["cpu_others_s"] = done["host"] - resume["host"] - ours
        for side in ("source", "destination"):
            agent = cpu.get(side + "_agent", {"all": 0, "after_resume": 0})
            for span in ("all", "after_resume"):
                everything = cpu[side + "_qemu"][span] + agent[span]
                self.result.setdefault("cpu_total_s", {}).setdefault(side, {})[span] = everything
                self.result.setdefault("cpu_added_s", {}).setdefault(side, {})[span] = (
                    everything - cpu[side + "_vcpu"][span])


def read_stalls(lines):
    """Pairs of (when, how long) in µs, and what "when" counts from, in seconds of the guest's clock."""
    stalls = []
    for line in lines:
        if line.startswith("STALL "):
            stalls += [tuple(map(int, word.split(":"))) for word in line.split()[1:]]
    values = lab.values_of(lines[-1])
    return stalls, (int(values["mono_us"]) - int(values["at_us"])) / 1e6


def quantile(ordered, share):
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0


def migrate(kind, guest, binary, net, timeout):
    """One migration; a failure is part of its result."""
    with contextlib.ExitStack() as stack:
        migration = Migration(stack, kind, guest, binary, net, timeout)
        try:
            return migration.run()
        except lab.Failure as failure:
            return {**migration.result, "error": str(failure)}
