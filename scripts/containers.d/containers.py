"""What scripts/test-containers does, once everything is there."""

import argparse
import collections
import concurrent.futures
import json
import pathlib
import statistics
import subprocess
import threading
import time

import host
import lab
import libvirt
from host import Guest, Host, run

PEERS = {"source": "10.213.78.1", "destination": "10.213.78.2"}
AGENTS = ("source-agent", "dest-agent")
MANY = 8
STAGES = ("queue", "wire", "place", "wake")
WHOLE = "total"
# What a later version's configuration files end with.
NEXT_DEFAULT = "\n# Of the next version.\n"
SETTINGS = {
    "dest": "allow = /etc/postcopy/allow\n",
    # All memory is to follow the guest: a drain that an agent can be killed in, and faults to be measured.
    "source": "precopy = off\n",
}
# The name of a control socket's group, and somebody who is in it without being root.
OPERATOR = ["setpriv", "--reuid", "daemon", "--regid", "postcopy", "--clear-groups", "--"]

GUEST_UNIT = """[Unit]
Description=Guest %i

[Service]
User=guest
EnvironmentFile=/etc/guest/%i
ExecStart=/usr/bin/qemu-system-x86_64 -name %i -machine pc,memory-backend=ram0 -accel tcg,thread=multi \\
  -m ${MEMORY}M -smp 1 -nodefaults -display none -vga none \\
  -object memory-backend-file,id=ram0,size=${MEMORY}M,mem-path=/dev/shm/%i,share=on \\
  -qmp unix:/run/vms/%i,server=on,wait=off -serial unix:/run/guest/%i.serial,server=on,wait=off \\
  -kernel /guest/vmlinuz -initrd /guest/initramfs.cpio.gz -append "${KERNEL}" $INCOMING
ExecStopPost=/bin/rm -f /dev/shm/%i
"""


class Stage:
    """Says what is done, and how long it took."""

    def __init__(self):
        self.start = time.monotonic()

    def __call__(self, text):
        print(f"{time.monotonic() - self.start:6.1f} s  {text}", flush=True)


def make_certificates(folder):
    """An authority, and for each host a certificate with its name."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    run("openssl", "req", "-x509", *key, "-keyout", folder / "ca.key", "-out", folder / "ca.pem", "-days", 2, "-subj",
        "/CN=authority")
    for name in PEERS:
        run("openssl", "req", *key, "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr", "-subj", f"/CN={name}",
            "-addext", f"subjectAltName=DNS:{name}")
        run("openssl", "x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
            "-CAcreateserial", "-copy_extensions", "copy", "-out", folder / f"{name}.pem", "-days", 2)


def at_once(function, items):
    """Calls the function for each, all at the same time. An interrupt does not wait for those that are not done."""
    futures = [concurrent.futures.Future() for _ in items]

    def call(future, item):
        try:
            future.set_result(function(item))
        except BaseException as error:
            future.set_exception(error)

    for future, item in zip(futures, items):
        threading.Thread(target=call, args=(future, item), daemon=True).start()
    return [future.result() for future in futures]


def prepare(machine, certificates, user):
    """What an operator brings, as docs/operations.md has it."""
    machine.write("/etc/postcopy/tls/ca.pem", (certificates / "ca.pem").read_text())
    machine.write("/etc/postcopy/tls/cert.pem", (certificates / f"{machine.name}.pem").read_text())
    machine.write("/etc/postcopy/tls/key.pem", (certificates / f"{machine.name}.key").read_text(), 0o600)
    machine.write("/etc/postcopy/allow", "".join(f"{peer} *\n" for peer in PEERS))
    machine.run("useradd", "--system", "guest")
    machine.write("/etc/tmpfiles.d/guest.conf", f"d /run/vms 0755 {user} {user}\nd /run/guest 0755 {user} {user}\n")
    machine.run("systemd-tmpfiles", "--create", "guest.conf")
    machine.write("/etc/systemd/system/guest@.service", GUEST_UNIT)
    machine.run("systemctl", "daemon-reload")


def install(machine, package):
    target = machine.inside("/root/postcopy.deb")
    target.write_bytes(package.read_bytes())
    machine.run("dpkg", "--install", "/root/postcopy.deb")
    for agent in AGENTS:
        if not machine.inside(f"/var/cache/postcopy/{agent}.aot").exists():
            raise lab.Failure(machine.inside(f"/var/cache/postcopy/{agent}.log").read_text())


def start_service(machine, agent):
    unit = f"postcopy-{agent}.service"
    with open(machine.inside(f"/etc/postcopy/{agent}-agent.conf"), "a") as settings:
        settings.write(SETTINGS[agent])
    machine.run("systemd-analyze", "verify", "--man=no", unit)
    # In tenths.
    machine.run("systemd-analyze", "security", "--threshold=40", unit)
    try:
        machine.run("systemctl", "enable", "--now", unit)
    except lab.Failure as failure:
        raise lab.Failure(f"{failure}: {machine.journal(unit)}") from None
    group = machine.run("cat", f"/proc/{machine.property(unit, 'MainPID')}/autogroup").strip()
    if not group.endswith("nice -20"):
        raise lab.Failure(f"{machine.name}: {unit} is in the scheduler's group {group}, which is to have nice value -20")


def start_guest(stack, machine, name, memory_mib, parameters, incoming):
    machine.write(f"/etc/guest/{name}",
                  f'MEMORY={memory_mib}\nKERNEL="{lab.QUICK_BOOT} {parameters}"\n'
                  f'INCOMING={"-incoming defer" if incoming else ""}\n')
    machine.run("systemctl", "start", f"guest@{name}")
    return Guest(stack, machine, name)


class Moves:
    """Guests with their QEMUs at both hosts."""

    def __init__(self, stack, say, source, destination, names, memory_mib, parameters):
        self.source, self.destination, self.names = source, destination, names
        self.at_source = [start_guest(stack, source, name, memory_mib, parameters, False) for name in names]
        self.at_destination = [start_guest(stack, destination, name, memory_mib, parameters, True) for name in names]
        at_once(Guest.await_ready, self.at_source)
        say(f"at work: {', '.join(names)}")

    def migrate(self, stack, *options):
        """Starts to migrate all of them; what `wait` takes."""
        return [self.source.start(stack, "source-agent", "migrate", name, "--to", self.destination.name, "--json", *options)
                for name in self.names]

    def wait(self, commands, timeout=240):
        """The reports; every guest has been verified."""
        reports = []
        for command in commands:
            code = command.wait(timeout)
            report, _ = command.report()
            if code != 0 or not report or report["status"] != "completed":
                raise lab.Failure(f"{command.name}: exit code {code}: {command.messages()}\n"
                                  f"source: {self.source.journal('postcopy-source')}\n"
                                  f"destination: {self.destination.journal('postcopy-dest')}")
            reports.append(report)
        for guest in self.at_destination:
            guest.verify()
        return reports

    def end(self):
        for machine in (self.source, self.destination):
            machine.run("systemctl", "stop", *(f"guest@{name}" for name in self.names))


def make_next_version(folder, package):
    """The same package with a higher version, and with other defaults in its configuration."""
    tree = folder / "next"
    run("dpkg-deb", "--raw-extract", package, tree)
    control = tree / "DEBIAN/control"
    version, lines = None, []
    for line in control.read_text().splitlines():
        if line.startswith("Version: "):
            version = line.removeprefix("Version: ") + "+next"
            line = f"Version: {version}"
        lines.append(line)
    control.write_text("\n".join(lines) + "\n")
    for agent in AGENTS:
        with open(tree / f"etc/postcopy/{agent}.conf", "a") as settings:
            settings.write(NEXT_DEFAULT)
    target = folder / "next.deb"
    run("dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, target)
    return target, version


def upgrade(machine, package, version, unit):
    """Puts a newer version over the one whose service is at work, as apt does it for who keeps their configuration."""
    before = int(machine.property(unit, "MainPID"))
    target = machine.inside("/root/next.deb")
    target.write_bytes(package.read_bytes())
    machine.run("dpkg", "--install", "--force-confold", "/root/next.deb")
    installed = machine.run("dpkg-query", "--show", "--showformat=${Version}", "postcopy")
    if installed != version:
        raise lab.Failure(f"{machine.name}: version {installed} is installed, not {version}")
    after = int(machine.property(unit, "MainPID"))
    # The old one's file has no name any more.
    if after in (0, before) or machine.run("readlink", f"/proc/{after}/exe").strip().endswith(" (deleted)"):
        raise lab.Failure(f"{machine.name}: the upgrade did not start {unit} again: {machine.journal(unit)}")
    other = ({"postcopy-source.service", "postcopy-dest.service"} - {unit}).pop()
    if machine.property(other, "ActiveState") != "inactive":
        raise lab.Failure(f"{machine.name}: the upgrade started {other}, which did not run before")


def require_configuration(machine, changed, untouched):
    """What an operator changed is as it was, with the new defaults beside it; what nobody changed is new."""
    folder = machine.inside("/etc/postcopy")
    for name, is_new in ((f"{changed}.conf", False), (f"{changed}.conf.dpkg-dist", True), (f"{untouched}.conf", True)):
        if (folder / name).read_text().endswith(NEXT_DEFAULT) != is_new:
            raise lab.Failure(f"{machine.name}: after the upgrade {name} is {'old' if is_new else 'new'}")


def survive_an_upgrade(stack, say, source, destination, package, version):
    moves = Moves(stack, say, source, destination, ["vm2"], 320, "pc.mem_mib=192 pc.hot_mib=64 pc.think_us=1000")
    # So slowly that both hosts are upgraded in the drain.
    moves.migrate(stack, "--max-bandwidth", "1M")
    moves.at_destination[0].lines.wait(lambda text: text.startswith("HB"), "vm2 runs at the destination", 120)
    for machine, unit in ((destination, "postcopy-dest.service"), (source, "postcopy-source.service")):
        if json.loads(source.run("source-agent", "status", "vm2", "--json"))["ended"]:
            raise lab.Failure("the migration had ended before the upgrade")
        upgrade(machine, package, version, unit)
    require_configuration(destination, "dest-agent", "source-agent")
    require_configuration(source, "source-agent", "dest-agent")
    source.run("source-agent", "set", "max-bandwidth", "unlimited", "vm2")
    end = json.loads(source.run("source-agent", "status", "vm2", "--follow", "--json", timeout=240))
    if end["report"]["status"] != "completed":
        raise lab.Failure(f"vm2: {end}: {source.journal('postcopy-source')}")
    pages = moves.at_destination[0].verify()
    say(f"vm2 moved while both hosts got a newer package: verified, {pages} pages")
    moves.end()


def p99(report):
    return report["fault_latency_us"]["p99"]


def record(destination, name):
    """What the destination keeps of the guest's last migration."""
    kept = sorted(destination.inside("/run/postcopy/records").glob(f"*-destination-{name}.json"))
    if not kept:
        raise lab.Failure(f"{destination.name} keeps no record of {name}")
    return json.loads(kept[-1].read_text())


def pooled_p99(records):
    """The p99 in µs of all faults of these migrations taken together, from the records' buckets; linear in a bucket."""
    buckets = collections.Counter()
    for kept in records:
        for bucket in kept["stages"][WHOLE]["buckets"]:
            buckets[bucket["fromMicros"], bucket["toMicros"]] += bucket["count"]
    left = 0.99 * buckets.total()
    for (low, high), count in sorted(buckets.items()):
        if left <= count:
            return low + (high - low) * left / count
        left -= count
    raise lab.Failure("no fault was recorded")


def survive_a_killed_agent(stack, say, source, destination):
    unit = "postcopy-dest.service"
    moves = Moves(stack, say, source, destination, ["vm1"], 320, "pc.mem_mib=192 pc.hot_mib=64 pc.think_us=1000")
    before = int(destination.property(unit, "MainPID"))
    commands = moves.migrate(stack)
    moves.at_destination[0].lines.wait(lambda text: text.startswith("HB"), "vm1 runs at the destination", 120)
    destination.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", unit)
    if commands[0].has_ended():
        raise lab.Failure("the migration had ended before the agent was killed")
    reports = moves.wait(commands)
    after = int(destination.property(unit, "MainPID"))
    if after in (0, before) or destination.property(unit, "NRestarts") != "1":
        raise lab.Failure(f"systemd did not start the service again: {destination.journal(unit)}")
    say(f"vm1 moved over TLS, its destination's agent killed and started again in the drain: verified,"
        f" {reports[0]['total_ms'] / 1000:.1f} s")
    moves.end()


def stages(destination, name):
    """The p99 of each stage of the faults of the guest's last migration, in µs: where a long fault was long."""
    found = record(destination, name)["stages"]
    return ", ".join(f"{stage} {found[stage]['p99']}" for stage in STAGES)


def move_many(stack, say, source, destination):
    guest = (128, "pc.mem_mib=48 pc.hot_mib=16 pc.think_us=1000")
    single = Moves(stack, say, source, destination, ["single"], *guest)
    alone = single.wait(single.migrate(stack))[0]
    single.end()
    say(f"one guest alone: verified, {alone['faults']} faults, p99 {p99(alone)} µs, {alone['total_ms'] / 1000:.1f} s")
    many = Moves(stack, say, source, destination, [f"many{number}" for number in range(1, MANY + 1)], *guest)
    reports = many.wait(many.migrate(stack))
    many.end()
    values = sorted(p99(report) for report in reports)
    pooled = [pooled_p99([record(destination, name) for name in moved.names]) for moved in (single, many)]
    say(f"{MANY} guests at a time: verified, {sum(report['faults'] for report in reports)} faults,"
        f" p99 {' '.join(map(str, values))} µs: {statistics.median(values) / p99(alone):.1f} times (median)"
        f" and {values[-1] / p99(alone):.1f} times (worst) that of one alone;"
        f" {max(report['total_ms'] for report in reports) / 1000:.1f} s")
    say(f"p99 of all {MANY} guests' faults taken together, from their buckets: {pooled[1]:.0f} µs,"
        f" {pooled[1] / pooled[0]:.1f} times that of one alone ({pooled[0]:.0f} µs)")
    worst = max(range(MANY), key=lambda number: p99(reports[number]))
    say(f"the worst, {many.names[worst]}: {reports[worst]['faults']} faults, p99 by stage:"
        f" {stages(destination, many.names[worst])} µs; of all, the longest fault"
        f" {max(report['fault_latency_us']['max'] for report in reports) / 1000:.1f} ms,"
        f" the longest downtime {max(report['downtime_ms'] for report in reports):.1f} ms")


def look_into_the_journal(source):
    """What was logged of one VM can be asked for."""
    entries = source.journal_entries("SYSLOG_IDENTIFIER=source-agent", "VM=vm1")
    if not entries or any(entry["PRIORITY"] not in ("4", "6") for entry in entries):
        raise lab.Failure(f"the journal has {len(entries)} entries of vm1, or with other priorities than their own")


def use_as_operator(source):
    """The control socket is the group's, and nobody else's."""
    source.run(*OPERATOR, "source-agent", "list")
    refused = subprocess.run(source._enter("setpriv", "--reuid", "daemon", "--regid", "daemon", "--clear-groups", "--",
                                           "source-agent", "list"), capture_output=True, check=False)
    if refused.returncode == 0:
        raise lab.Failure("somebody who is not in the group postcopy may use the control socket")


def files(machine):
    """Every file, but for what dpkg, the system log, other programs that run and this test keep for themselves."""
    found = machine.run("find", "/etc", "/run", "/usr", "/var", "-not", "-type", "d").splitlines()
    return {path for path in found
            if not path.startswith(("/etc/guest/", "/run/", "/var/lib/dpkg/", "/var/log/"))
            or path.startswith("/run/postcopy/")}


def remove(machine, before):
    """Removed, it leaves its configuration; purged, nothing."""
    machine.run("dpkg", "--remove", "postcopy")
    left = [path for path in sorted(files(machine) - before) if not path.startswith(("/etc/", "/run/"))]
    if left:
        raise lab.Failure(f"{machine.name}: the package was removed and left {' '.join(left)}")
    for agent in AGENTS:
        if not machine.inside(f"/etc/postcopy/{agent}.conf").exists():
            raise lab.Failure(f"{machine.name}: the package was removed, and so was the configuration of {agent}")
    machine.run("dpkg", "--purge", "postcopy")
    left = sorted(files(machine) - before)
    if left:
        raise lab.Failure(f"{machine.name}: the package was purged and left {' '.join(left)}")


def main(stack, options):
    say = Stage()
    # All that is made below goes with the mount namespace.
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", options.folder)
    pathlib.Path("/run/netns").mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
    base = options.folder / "base"
    base.mkdir()
    run("tar", "-C", base, "-xf", options.tree)
    certificates = options.folder / "certificates"
    certificates.mkdir()
    make_certificates(certificates)
    machines = source, destination = [Host(stack, options.folder, base, name, address, PEERS)
                                      for name, address in PEERS.items()]
    host.connect(source, destination, options.rate)
    at_once(Host.await_boot, machines)
    say("two hosts have started")
    at_once(lambda machine: prepare(machine, certificates, libvirt.USER if options.libvirt else "guest"), machines)
    before = {machine: files(machine) for machine in machines}
    at_once(lambda machine: install(machine, options.package), machines)
    say("the package is installed on both")
    start_service(destination, "dest")
    start_service(source, "source")
    use_as_operator(source)
    say("the services are ready")
    if options.libvirt:
        start_service(destination, "source")
        start_service(source, "dest")
        libvirt.move_there_and_back(stack, say, source, destination)
        return
    if options.many:
        for _ in range(options.many):
            move_many(stack, say, source, destination)
        return
    survive_a_killed_agent(stack, say, source, destination)
    look_into_the_journal(source)
    survive_an_upgrade(stack, say, source, destination, *make_next_version(options.folder, options.package))
    move_many(stack, say, source, destination)
    at_once(lambda machine: remove(machine, before[machine]), machines)
    say("the package is gone again")


def parse():
    parser = argparse.ArgumentParser(prog="scripts/test-containers")
    parser.add_argument("--rate", default="300mbit", help="of the link between the hosts, as tc has it (%(default)s)")
    parser.add_argument("--libvirt", action="store_true",
                        help="instead of all else, domains of libvirt move, as docs/operations.md has it")
    parser.add_argument("--many", type=int, metavar="TIMES",
                        help="instead of all else, so many times one guest alone and then eight at a time, to measure")
    for name in ("folder", "tree", "package"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    lab.run_main(lambda stack: main(stack, arguments))
