"""A domain of libvirt moves onto a domain of libvirt, by the steps of docs/operations.md."""

import pathlib

import lab
from host import Guest

USER = "libvirt-qemu"
DOMAIN = pathlib.Path(__file__).with_name("libvirt.xml").read_text()
INCOMING = """
    <qemu:arg value='-incoming'/>
    <qemu:arg value='defer'/>"""


def configure(machine):
    with open(machine.inside("/etc/libvirt/qemu.conf"), "a") as settings:
        settings.write('memory_backing_dir = "/dev/shm"\n')
        # A container may not make control groups of version 1; it is no part of what operators do.
        settings.write("cgroup_controllers = [ ]\n")
    machine.run("systemctl", "restart", "libvirtd")


def write_domain(machine, name):
    """vm1.xml, and vm1-in.xml of a domain that waits for a guest."""
    kernel = f"{lab.QUICK_BOOT} pc.mem_mib=192 pc.hot_mib=64 pc.think_us=1000"
    for suffix, incoming in (("", ""), ("-in", INCOMING)):
        machine.write(f"/root/{name}{suffix}.xml", DOMAIN.format(name=name, kernel=kernel, incoming=incoming))


def require_state(machine, name, state):
    found = machine.run("virsh", "domstate", "--reason", name).strip()
    if found != state:
        raise lab.Failure(f"{machine.name}: libvirt says that {name} is {found}, not {state}")


def preflight(machine, agent, *options):
    machine.run(agent, "preflight", "--qmp", "/run/vms/vm1", *options)


def move(stack, say, origin, target):
    """The domain vm1, which is defined and runs at its origin."""
    target.run("virsh", "create", "/root/vm1-in.xml")
    arrived = Guest(stack, target, "vm1")
    preflight(target, "dest-agent")
    preflight(origin, "source-agent", "--to", target.name)
    command = origin.start(stack, "source-agent", "migrate", "vm1", "--to", target.name, "--max-bandwidth", "10M", "--json")
    arrived.lines.wait(lambda text: text.startswith("HB"), f"vm1 runs at {target.name}", 120)
    require_state(origin, "vm1", "paused (unknown)")
    require_state(target, "vm1", "running (booted)")
    # In the drain.
    target.run("systemctl", "restart", "libvirtd")
    target.run("virsh", "define", "/root/vm1.xml")
    origin.run("virsh", "destroy", "vm1")
    origin.run("virsh", "undefine", "vm1")
    if command.has_ended():
        raise lab.Failure("the migration had ended before its source's domain was destroyed")
    origin.run("source-agent", "set", "max-bandwidth", "1000M", "vm1")
    code = command.wait(240)
    if code != 0:
        raise lab.Failure(f"{command.name}: exit code {code}: {command.messages()}")
    target.run("virsh", "suspend", "vm1")
    target.run("virsh", "resume", "vm1")
    require_state(target, "vm1", "running (unpaused)")
    if "-incoming" in target.run("virsh", "dumpxml", "--inactive", "vm1"):
        raise lab.Failure(f"{target.name}: vm1 would wait for a guest when it is started again")
    pages = arrived.verify()
    say(f"vm1 moved from libvirt's domain on {origin.name} to that on {target.name}: verified, {pages} pages")


def move_there_and_back(stack, say, source, destination):
    for machine in (source, destination):
        configure(machine)
        write_domain(machine, "vm1")
    source.run("virsh", "define", "/root/vm1.xml")
    source.run("virsh", "start", "vm1")
    Guest(stack, source, "vm1").await_ready()
    say("vm1 is at work, a domain of libvirt")
    move(stack, say, source, destination)
    move(stack, say, destination, source)
