"""Two network namespaces with a link between them, as slow as wanted."""

import json
import os
import pathlib
import re
import subprocess
import sys

import lab

PREFIX = "postcopy-bench-"
INTERFACE = "wire"
ADDRESSES = {"source": "10.213.77.1", "destination": "10.213.77.2"}


def run(*command):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if result.returncode != 0:
        raise lab.Failure(f"{' '.join(str(word) for word in command)}: {result.stderr.strip()}")
    return result.stdout


class Network:
    def __init__(self, stack, rate, queue_ms, delay_us):
        remove_stale()
        self.names = {side: f"{PREFIX}{os.getpid()}-{side}" for side in ADDRESSES}
        for side, name in self.names.items():
            # Registered before it is made: removing what is not there does no harm.
            stack.callback(subprocess.run, ["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)
            run("ip", "netns", "add", name)
        source, destination = self.names["source"], self.names["destination"]
        run("ip", "link", "add", "name", INTERFACE, "netns", source, "type", "veth", "peer", "name", INTERFACE, "netns",
            destination)
        for side, name in self.names.items():
            in_namespace = ("ip", "-n", name)
            run(*in_namespace, "link", "set", "lo", "up")
            run(*in_namespace, "address", "add", f"{ADDRESSES[side]}/24", "dev", INTERFACE)
            run(*in_namespace, "link", "set", INTERFACE, "up")
            queue = ("tc", "-n", name, "qdisc", "add", "dev", INTERFACE)
            parent = ("root", "handle", "1:")
            if rate != "none":
                # A first-in first-out queue as a NIC has it, that much time long.
                run(*queue, *parent, "tbf", "rate", rate, "burst", "128kb", "latency", f"{queue_ms}ms")
                parent = ("parent", "1:1", "handle", "2:")
            if delay_us:
                run(*queue, *parent, "netem", "delay", f"{delay_us}us", "limit", 100000)

    def plain_stream_mbit(self, seconds=2):
        """What one TCP connection carries while nothing else happens."""
        def command(side, *words):
            return ["ip", "netns", "exec", self.names[side], sys.executable, "-B",
                    pathlib.Path(__file__).with_name("stream.py"), *words]

        address = ADDRESSES["destination"]
        with subprocess.Popen(command("destination", "receive", address), stdout=subprocess.PIPE, text=True) as receiver:
            try:
                run(*command("source", "send", address, receiver.stdout.readline().strip(), seconds))
                return int(receiver.stdout.readline())
            finally:
                receiver.kill()

    @staticmethod
    def link_bytes(pid):
        """Bytes that the namespace of this process sent and received on the link."""
        for line in pathlib.Path(f"/proc/{pid}/net/dev").read_text().splitlines():
            if line.strip().startswith(INTERFACE + ":"):
                fields = line.split(":")[1].split()
                return int(fields[8]), int(fields[0])
        raise lab.Failure(f"no interface {INTERFACE} in the namespace of process {pid}")


def remove_stale():
    """Namespaces of a benchmark that was killed without a chance to clean up."""
    names = [entry["name"] for entry in json.loads(run("ip", "-j", "netns", "list") or "[]")]
    for name in names:
        match = re.fullmatch(PREFIX + r"(\d+)-(source|destination)", name)
        if match and not pathlib.Path(f"/proc/{match.group(1)}").exists():
            run("ip", "netns", "delete", name)
