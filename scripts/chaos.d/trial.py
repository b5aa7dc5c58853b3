"""One run: a migration, what is done to it, how it is settled, and what must be true then."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import lab
import proxy as network

MEMORY_MIB = 256
PARAMETERS = "pc.mem_mib=96 pc.zero_mib=8 pc.hot_mib=12 pc.cold_share=200 pc.think_us=100"
SETTLE_SECONDS = 60
RESUMES = 12
IDLE_SECONDS = 2
INTERRUPT_SECONDS = 10

SOURCE, DESTINATION = "source", "destination"


class Violation(Exception):
    """Something that must never happen."""


class Template:
    """A guest that has booted, as a file: each run begins with a copy of it."""

    def __init__(self, stack, folder, binary):
        self.binary = binary
        self.path = folder / "guest"
        with contextlib.ExitStack() as booting:
            qemu = lab.Qemu(booting, "template", folder, binary, MEMORY_MIB, PARAMETERS)
            qemu.await_guest()
            time.sleep(0.5)
            qemu.qmp("stop")
            qemu.qmp("migrate", uri=f"exec:cat >{self.path}")
            deadline = time.monotonic() + 60
            while (status := qemu.qmp("query-migrate").get("status")) != "completed":
                if status == "failed" or time.monotonic() > deadline:
                    raise lab.Failure(f"the guest cannot be saved: {qemu.log()}")
                time.sleep(0.05)

    def start(self, stack, folder):
        qemu = lab.Qemu(stack, SOURCE, folder, self.binary, MEMORY_MIB, PARAMETERS, incoming=True)
        qemu.qmp("migrate-incoming", uri=f"exec:cat {self.path}")
        return qemu


class Side:
    """An agent, which may be killed and started again, and its QEMU."""

    def __init__(self, name, qemu, start, resume):
        self.name = name
        self.qemu = qemu
        self.start_command = start
        self.resume_command = resume
        self.agents = []
        self.had_journal = []
        self.killed = set()
        self.resume_at = None
        self.wants_resume = False
        self.qemu_killed_at = None
        self.qemu_died_committed = False
        self.frozen_agent = None
        self.thaw_at = None
        self.idle_since = None
        self.interrupted_at = None

    @property
    def agent(self):
        return self.agents[-1]

    def is_running(self):
        return not self.agent.has_ended()

    def codes(self):
        return ["killed" if agent.pid in self.killed else agent.code for agent in self.agents]


class Trial:
    def __init__(self, stack, template, folder, scenario):
        self.stack = stack
        self.template = template
        self.folder = folder
        self.scenario = scenario
        self.state = folder / "state"
        self.sides = {}
        self.proxy = None
        self.log = []
        self.lock = threading.Lock()
        self.blow_at = None
        self.blows = list(scenario.blows)
        self.struck = []

    # ---- the run -----------------------------------------------------------------------------------------------------

    def run(self):
        """What became of the guest: source, destination or lost."""
        try:
            self._prepare()
            self._arm()
            self._settle()
            return self._check()
        except lab.Failure as failure:
            raise Violation(str(failure)) from None
        finally:
            for side in self.sides.values():
                self._thaw(side)
            self._write_logs()

    def _prepare(self):
        source = self.template.start(self.stack, self.folder)
        destination = lab.Qemu(self.stack, DESTINATION, self.folder, self.template.binary, MEMORY_MIB, PARAMETERS,
                               incoming=True)
        port = free_port()
        self.proxy = network.Proxy(self.stack, port)
        common = ["-v", "--json", "--state-dir", self.state]
        to = ["--to", f"127.0.0.1:{self.proxy.port}", "--max-bandwidth", f"{self.scenario.bandwidth_mib}M"]
        at = ["--qmp", destination.qmp_path, "--listen", f"127.0.0.1:{port}"]
        ahead = ["--precopy", "auto" if self.scenario.ahead else "off"]
        source_agent, dest_agent = lab.ROOT / "scripts/source-agent", lab.ROOT / "scripts/dest-agent"
        self.sides = {
            SOURCE: Side(SOURCE, source, [source_agent, "migrate", "--qmp", source.qmp_path, *ahead, *to, *common],
                         [source_agent, "resume", *to, *common]),
            DESTINATION: Side(DESTINATION, destination, [dest_agent, "receive", *at, *common],
                              [dest_agent, "resume", *at, *common]),
        }
        self.source, self.destination = self.sides.values()
        self.descriptors = {side: descriptors(side.qemu.pid) for side in self.sides.values()}
        self._start(self.destination, self.destination.start_command)
        self._await_loaded(source)
        self.destination.agent.await_listening()
        self._start(self.source, self.source.start_command)
        self.started = time.monotonic()

    @staticmethod
    def _await_loaded(qemu):
        deadline = time.monotonic() + 20
        while (status := qemu.qmp("query-status")["status"]) != "paused":
            if time.monotonic() > deadline or qemu.process.poll() is not None:
                raise lab.Failure(f"the guest cannot be restored ({status}): {qemu.log()}")
            time.sleep(0.02)
        qemu.qmp("cont")

    def _start(self, side, command):
        self.note(f"start {side.name}: {command[1]}")
        side.had_journal.append(bool(self._journal(side)))
        side.resume_at = side.idle_since = side.interrupted_at = None
        side.wants_resume = False
        side.agents.append(lab.Agent(self.stack, f"{side.name} agent", command))

    def note(self, text):
        with self.lock:
            self.log.append(f"{time.time():.3f} {text}")

    # ---- faults ------------------------------------------------------------------------------------------------------

    def _arm(self):
        """Waits for the next moment to come; called again by each blow."""
        self.blow_at = None
        if not self.blows:
            return
        moment = self.blows[0].moment
        if moment.frame:
            self.proxy.trap = network.Trap(moment.frame, moment.count, moment.after, self._strike)
        elif self.proxy.seen.get("RUNNING"):
            self.blow_at = time.monotonic() + moment.seconds
        else:
            self.proxy.trap = network.Trap(
                "RUNNING", 1, True, lambda: setattr(self, "blow_at", time.monotonic() + moment.seconds))

    def _strike(self):
        """On the thread of the frame, which waits: what is killed here has not seen it."""
        blow = self.blows.pop(0)
        self.note(f"blow: {blow}")
        self.struck.append(blow)
        for fault in blow.faults:
            self._do(fault)
        self._arm()

    def _do(self, fault):
        kind, seconds = fault.kind, fault.seconds
        roles = {"both": (network.DEMAND, network.BULK), "demand": (network.DEMAND,), "bulk": (network.BULK,)}
        if kind == "no network":
            self.proxy.switch_off(seconds)
        elif kind.startswith("cut"):
            self.proxy.cut(roles[kind.split()[1]], fault.hard)
        elif kind.startswith("stall"):
            self.proxy.stall(roles[kind.split()[1]], seconds)
        elif kind in ("kill source-agent", "kill both agents"):
            self._kill(self.source)
        elif kind == "freeze source-agent":
            self._freeze(self.source, seconds)
        elif kind == "freeze dest-agent":
            self._freeze(self.destination, seconds)
        elif kind == "interrupt source-agent":
            self._signal(self.source.agent, signal.SIGINT)
        elif kind == "interrupt dest-agent":
            self._signal(self.destination.agent, signal.SIGINT)
        elif kind.endswith("QEMU"):
            self._kill_qemu(self.sides[kind.split()[1]])
        if kind in ("kill dest-agent", "kill both agents"):
            self._kill(self.destination)

    @staticmethod
    def _signal(agent, number):
        # Not reaped by another thread meanwhile: only the main one polls, and the pid is its until then.
        with contextlib.suppress(ProcessLookupError):
            if agent.code is None:
                os.kill(agent.pid, number)
                return True
        return False

    def _kill(self, side):
        if self._signal(side.agent, signal.SIGKILL):
            side.killed.add(side.agent.pid)
            side.wants_resume = True

    def _kill_qemu(self, side):
        if side.qemu.process.poll() is None:
            side.qemu_killed_at = time.time()
            side.qemu_died_committed = bool(
                self.proxy.seen.get("COMMIT") or self._state_of(self.source) == "COMMITTED")
            side.qemu.process.kill()

    def _freeze(self, side, seconds):
        agent = side.agent
        if self._signal(agent, signal.SIGSTOP):
            side.thaw_at = time.monotonic() + seconds
            side.frozen_agent = agent

    def _thaw(self, side):
        if side.frozen_agent:
            self._signal(side.frozen_agent, signal.SIGCONT)
            side.frozen_agent = None

    # ---- until nothing happens any more ------------------------------------------------------------------------------

    def _journal(self, side):
        return next(iter(self.state.glob(f"*.{side.name}")), None) if self.state.exists() else None

    def _state_of(self, side):
        # An agent that was killed at its first entry leaves none, or half of it.
        with contextlib.suppress(OSError, ValueError, IndexError):
            if journal := self._journal(side):
                return json.loads(journal.read_text().splitlines()[-1])["state"]
        return None

    def _settle(self):
        deadline = time.monotonic() + SETTLE_SECONDS
        while not self._is_settled():
            now = time.monotonic()
            if now > deadline:
                raise Violation(
                    f"stuck: source {self._describe(self.source)}, destination {self._describe(self.destination)}")
            if self.blow_at and now >= self.blow_at:
                self.blow_at = None
                self._strike()
            for side in self.sides.values():
                if side.frozen_agent and now >= side.thaw_at:
                    self._thaw(side)
                if not side.is_running():
                    self._consider_resume(side)
            self._end_idle_ones()
            time.sleep(0.01)
        self.proxy.trap = None

    def _describe(self, side):
        return f"{side.codes()} {self._state_of(side)}"

    def _is_settled(self):
        return not any(side.is_running() or side.wants_resume or side.resume_at for side in self.sides.values()) \
            and not any(self._must_go_on(side) for side in self.sides.values())

    def _must_go_on(self, side):
        """Whether a journal is there that an operator would take up."""
        state = self._state_of(side)
        other = self.destination if side is self.source else self.source
        if state is None:
            return False
        if self._is_hopeless():
            return False
        if state == "ABORTED":
            return self._journal(other) is not None or other.is_running()
        if state == "COMPLETED" and side is self.destination:
            return self._journal(other) is not None or other.is_running()
        return True

    def _is_hopeless(self):
        """The guest belonged to a QEMU that is gone: the journals say so for ever."""
        return self.destination.qemu_killed_at and self._state_of(self.source) == "COMMITTED"

    def _consider_resume(self, side):
        if side.resume_at is None:
            if side.wants_resume:
                side.resume_at = time.monotonic() + self.scenario.pause()
            elif self._must_go_on(side):
                side.resume_at = time.monotonic() + 1
            return
        if time.monotonic() < side.resume_at:
            return
        if len(side.agents) > RESUMES:
            raise Violation(f"{side.name}: resumed {RESUMES} times and not done: {side.agent.messages()}")
        self._start(side, side.resume_command)

    def _end_idle_ones(self):
        """A destination that waits for a first source, and one whose QEMU is gone: somebody presses Ctrl-C."""
        source, destination = self.source, self.destination
        ended = not source.is_running() and not source.wants_resume and source.resume_at is None
        if ended and destination.is_running() and not self._journal(destination) and not self._journal(source):
            self._interrupt(destination)
        over = not destination.is_running() and not destination.wants_resume and destination.resume_at is None
        if over and source.is_running() and self._is_hopeless():
            self._interrupt(source)
        if ended and destination.is_running() and self._is_hopeless():
            self._interrupt(destination)

    def _interrupt(self, side):
        """Not at once: it may be about to end by itself."""
        now = time.monotonic()
        if side.idle_since is None:
            side.idle_since = now
        elif side.interrupted_at is None and now - side.idle_since > IDLE_SECONDS:
            side.interrupted_at = now
            self.note(f"interrupt the {side.name} agent, which has nothing to wait for")
            self._signal(side.agent, signal.SIGINT)
        elif side.interrupted_at and now - side.interrupted_at > INTERRUPT_SECONDS:
            raise Violation(f"the {side.name} agent does not end {INTERRUPT_SECONDS} s after SIGINT:"
                            f" {side.agent.messages()}")

    # ---- what must be true then --------------------------------------------------------------------------------------

    def _check(self):
        self._check_never_twice()
        states = {side: self._qemu_state(side) for side in self.sides.values()}
        self.note(f"QEMUs: {states[self.source]}, {states[self.destination]}")
        place = self._place(states)
        if place != "lost":
            self._check_memory(self.source if place == SOURCE else self.destination)
        self._check_codes(place)
        self._check_descriptors()
        self._check_files(place)
        return place

    def _running_times(self, side):
        times = []
        since = None
        for name, at, _ in side.qemu.events:
            if name == "RESUME" and since is None:
                since = at
            elif name in ("STOP", "SHUTDOWN") and since is not None:
                times.append((since, at))
                since = None
        if since is not None:
            times.append((since, side.qemu_killed_at or time.time()))
        return times

    def _check_never_twice(self):
        for start, end in self._running_times(self.source):
            for start2, end2 in self._running_times(self.destination):
                if max(start, start2) < min(end, end2):
                    raise Violation(f"both ran from {max(start, start2):.6f} to {min(end, end2):.6f}")

    def _qemu_state(self, side):
        if side.qemu.process.poll() is not None:
            return "gone"
        try:
            return side.qemu.qmp("query-status", timeout=10)["status"]
        except lab.Failure:
            # One that was killed a moment ago: its sockets are closed before its end is seen.
            with contextlib.suppress(subprocess.TimeoutExpired):
                side.qemu.process.wait(1)
                return "gone"
            raise

    def _place(self, states):
        source, destination = states[self.source], states[self.destination]
        if source == "gone" and self.source.qemu_killed_at is None:
            raise Violation("the source QEMU ended by itself")
        if source == "running" and destination in ("inmigrate", "gone"):
            return SOURCE
        if destination == "running" and source in ("postmigrate", "gone"):
            return DESTINATION
        if source == "gone" and not self.source.qemu_died_committed and destination in ("inmigrate", "gone"):
            return "lost"
        if destination == "gone" and self.destination.qemu_killed_at and source in ("postmigrate", "gone"):
            if not self.destination.qemu_died_committed and not self.proxy.seen.get("LOADED"):
                raise Violation("lost, though the destination QEMU was killed before it had loaded")
            return "lost"
        raise Violation(f"the guest runs nowhere, or the other QEMU is not as it must be: source {source},"
                        f" destination {destination}")

    def _check_memory(self, side):
        lines = side.qemu.ask("verify", "VERIFY", 30)
        verdict = lab.values_of(lines[-1])
        if int(verdict["errors"]) or int(verdict["worker_errors"]):
            raise Violation(f"memory is wrong: {lines[-1]}")
        for each in self.sides.values():
            for line in each.qemu.serial.since():
                if line.text.startswith("CORRUPT"):
                    raise Violation(f"{each.name}: {line.text}")

    def _check_codes(self, place):
        # Where every page was across, a migration may have ended well before its QEMU did not.
        whole = (0,) if self.proxy.seen.get("END") else ()
        allowed = {SOURCE: (1, 2), DESTINATION: (0,), "lost": (1, 2, 3, *whole)}[place]
        for side in self.sides.values():
            code = side.codes()[-1]
            if code == "killed" or code in allowed:
                continue
            resumed = len(side.agents) > 1
            if code == 2 and resumed and not side.had_journal[-1]:
                continue
            raise Violation(f"the guest is {place}, and the {side.name} agent ended with {side.codes()}:"
                            f" {side.agent.messages()}")

    def _check_descriptors(self):
        for side in self.sides.values():
            if side.qemu.process.poll() is not None:
                continue
            deadline = time.monotonic() + 2
            while True:
                now = descriptors(side.qemu.pid)
                faults = [name for name in now if "userfaultfd" in name]
                more = len(now) - len(self.descriptors[side])
                if not faults and more <= 0:
                    break
                if time.monotonic() > deadline:
                    raise Violation(f"the {side.name} QEMU keeps {faults or sorted(now)}"
                                    f" ({len(self.descriptors[side])} descriptors before)")
                time.sleep(0.05)

    def _check_files(self, place):
        files = sorted(path.name for path in self.state.iterdir()) if self.state.exists() else []
        for name in files:
            if name == "records":  # of migrations that have ended, for whoever wants to know
                continue
            side = self.destination if ".destination" in name else self.source
            state = self._state_of(side)
            if place == "lost" or state in ("ABORTED", "COMPLETED"):
                continue
            left_by_killed = (".lock", ".control", f".{side.name}")
            if state is None and name.endswith(left_by_killed) and side.codes()[-1] == "killed":
                self.note(f"litter of an agent that was killed, for the next to remove: {name}")
                continue
            raise Violation(f"left behind: {files}, {state}")
        ours = {side.qemu.ram_path.name for side in self.sides.values()}
        others = [path.name for path in lab.SHARED_MEMORY.iterdir()
                  if path.name.startswith(self.folder.name) and path.name not in ours]
        if others:
            raise Violation(f"left behind in {lab.SHARED_MEMORY}: {others}")

    # ---- for whoever looks into it -----------------------------------------------------------------------------------

    def _write_logs(self):
        lines = self.log + (self.proxy.log if self.proxy else [])
        for side in self.sides.values():
            for name, at, data in list(side.qemu.events):
                lines.append(f"{at:.3f} {side.name} QEMU: {name} {data or ''}")
            for number, agent in enumerate(side.agents):
                text = "\n".join(f"{line.at:.3f} {line.text}" for line in agent.err.since() + agent.out.since())
                (self.folder / f"{side.name}-agent-{number}.log").write_text(f"{text}\nexit {side.codes()[number]}\n")
                lines += [f"{line.at:.3f} {side.name} agent {number}: {line.text}" for line in agent.err.since()]
            serial = "\n".join(f"{line.at:.3f} {line.text}" for line in side.qemu.serial.since())
            (self.folder / f"{side.name}-serial.log").write_text(serial + "\n")
        (self.folder / "story.log").write_text("\n".join(sorted(lines)) + "\n")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def descriptors(pid):
    found = []
    for path in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found.append(re.sub(r"\d+", "N", os.readlink(f"/proc/{pid}/fd/{path}")))
    return found
