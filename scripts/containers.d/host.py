"""A container that is a host of its own: its files, its network, its systemd."""

import json
import os
import pathlib
import shlex
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
import lab

INTERFACE = "host0"


def run(*command, **options):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                            **options)
    if result.returncode != 0:
        raise lab.Failure(f"{shlex.join(str(word) for word in command)}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


class Host:
    def __init__(self, stack, folder, base, name, address, peers):
        self.name = name
        self.address = address
        self.leader = None
        self.root = folder / name / "root"
        for part in ("root", "upper", "work"):
            (folder / name / part).mkdir(parents=True)
        run("mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir={base},upperdir={folder / name}/upper,workdir={folder / name}/work", self.root)
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        self.write("/etc/hostname", f"{name}\n")
        self.write("/etc/hosts", "127.0.0.1 localhost\n" + "".join(f"{at} {peer}\n" for peer, at in peers.items()))
        # A host gives out all rights and all system calls: what its services do without is their units' matter.
        console = open(folder / f"{name}.console", "wb")
        self.process = lab.start_process(stack, [
            *in_cgroup(f"{folder.name}-{name}"), "systemd-nspawn", "--boot", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--directory",
            self.root, f"--network-namespace-path=/run/netns/{name}", "--capability=all", "--resolv-conf=off",
            "--timezone=off", "--bind=/dev/userfaultfd", f"--bind-ro={lab.ROOT / 'target/guest'}:/guest",
        ], stdin=subprocess.DEVNULL, stdout=console, stderr=console, env={**os.environ, "SYSTEMD_SECCOMP": "0"})
        self.console = folder / f"{name}.console"

    def await_boot(self, timeout=120):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise lab.Failure(f"{self.name} ended: {self.console.read_text('utf-8', 'replace').strip()}")
            pids = children.read_text().split()
            if pids:
                self.leader = int(pids[0])
                # Not degraded, because then the operator of this host would not be content.
                state = subprocess.run(self._enter("systemctl", "is-system-running", "--wait"), capture_output=True,
                                       text=True, check=False).stdout.strip()
                if state == "running":
                    return
                if state == "degraded":
                    raise lab.Failure(f"{self.name}: {self.run('systemctl', '--failed', '--no-legend')}")
            time.sleep(0.1)
        raise lab.Failure(f"{self.name} has not started within {timeout} s")

    def _enter(self, *command):
        return ["nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root",
                "--wd", "--", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", *map(str, command)]

    def run(self, *command, **options):
        """Runs a command in the container; what it printed."""
        try:
            return run(*self._enter(*command), **options)
        except lab.Failure as failure:
            raise lab.Failure(f"{self.name}: {shlex.join(map(str, command))}: "
                              f"{str(failure).split(': ', 1)[1]}") from None

    def start(self, stack, *command):
        """Starts a command in the container."""
        return lab.Agent(stack, f"{command[0]} on {self.name}", self._enter(*command))

    def write(self, path, text, mode=0o644):
        file = self.inside(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def inside(self, path):
        """Where a path of the container is seen from here; what it mounts for itself is seen only while it runs."""
        top = self.root if self.leader is None else pathlib.Path(f"/proc/{self.leader}/root")
        return top / path.lstrip("/")

    def property(self, unit, name):
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def journal(self, unit, lines=15):
        return self.run("journalctl", "--no-pager", "--output=cat", f"--lines={lines}", f"--unit={unit}").strip()

    def journal_entries(self, *matches):
        lines = self.run("journalctl", "--no-pager", "--output=json", *matches).splitlines()
        return [json.loads(line) for line in lines]


def in_cgroup(name):
    """What starts a command in a control group of its own, which two systemds must not share. scripts/test-containers
    removes it."""
    folders = []
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, own = line.split(":", 2)
        if controllers in ("", "name=systemd"):
            folders.append(shlex.quote(f"{cgroup_mount(controllers)}{own.rstrip('/')}/{name}"))
    script = f'for group in {" ".join(folders)}; do mkdir -p "$group"; echo $$ >"$group/cgroup.procs"; done; exec "$@"'
    return ["sh", "-euc", script, "-"]


def cgroup_mount(controllers):
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, system = line.partition(" - ")
        kind, _, options = system.split(" ", 2)
        if kind == "cgroup2" and not controllers or kind == "cgroup" and controllers in options.split(",") and controllers:
            return mount.split(" ")[4]
    raise lab.Failure(f"control groups ({controllers or 'version 2'}) are not mounted")


def connect(one, other, rate):
    """A link between two hosts that carries so much each way, behind a first-in first-out queue as a NIC has it."""
    run("ip", "link", "add", "name", INTERFACE, "netns", one.name, "type", "veth", "peer", "name", INTERFACE, "netns",
        other.name)
    for host in (one, other):
        run("ip", "-n", host.name, "address", "add", f"{host.address}/24", "dev", INTERFACE)
        run("ip", "-n", host.name, "link", "set", INTERFACE, "up")
        run("tc", "-n", host.name, "qdisc", "add", "dev", INTERFACE, "root", "tbf", "rate", rate, "burst", "128kb",
            "latency", "50ms")


class Guest:
    """The program in a guest, through the serial port of its QEMU."""

    def __init__(self, stack, host, name):
        self.name = f"{name} on {host.name}"
        path = host.inside(f"/run/guest/{name}.serial")
        deadline = time.monotonic() + 60
        self.connection = socket.socket(socket.AF_UNIX)
        stack.callback(self.connection.close)
        while True:
            try:
                self.connection.connect(str(path))
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise lab.Failure(f"{self.name} has no serial port: {host.journal(f'guest@{name}')}") from None
                time.sleep(0.05)
        self.lines = lab.Lines(self.connection.makefile("rb"))

    def await_ready(self):
        line = self.lines.wait(lambda text: text.startswith(("READY", "FAILED")), f"{self.name}: READY", 240)
        if line.text.startswith("FAILED"):
            raise lab.Failure(f"{self.name}: {line.text}")

    def ask(self, command, answer, timeout=240):
        start = self.lines.count()
        self.connection.sendall((command + "\n").encode())
        return self.lines.wait(lambda text: text.startswith(answer), f"{self.name}: {answer}", timeout, start).text

    def verify(self):
        """Lets the guest check each of its pages; it has to have gone on working as well."""
        answer = self.ask("verify", "VERIFY")
        corrupt = [line.text for line in self.lines.since() if line.text.startswith("CORRUPT")]
        if not answer.startswith("VERIFY ok") or corrupt:
            raise lab.Failure(f"{self.name}: {answer} {corrupt[:3]}")
        return int(lab.values_of(answer)["pages"])
