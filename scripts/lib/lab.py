"""What the demo and the benchmark have in common: QEMUs with the Linux guest, the agents, and that they all go again.

Times are seconds of the wall clock (time.time), because that is what QEMU stamps its events with.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SHARED_MEMORY = pathlib.Path("/dev/shm")

# A quiet and somewhat quicker boot under emulation. With tsc=reliable the guest keeps its clock source when its timers
# come late because it waited for a page.
QUICK_BOOT = (
    "console=ttyS0 quiet loglevel=0 mitigations=off nokaslr tsc=reliable lpj=4000000 cryptomgr.notests=1 apparmor=0"
    " audit=0 8250.nr_uarts=1 i8042.noaux i8042.nokbd"
)


class Failure(Exception):
    """Said to the user in one line, without a stack trace."""


class Interrupted(BaseException):
    """A signal asked for the end."""


def run_main(main):
    """Runs main(stack); whatever it put on the stack is undone at the end, also after Ctrl-C or SIGTERM."""

    def interrupt(number, _frame):
        raise Interrupted(number)

    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in ends:
        signal.signal(number, interrupt)
    try:
        with contextlib.ExitStack() as stack:
            # Called first of all: cleaning up is short, and half of it would be worse than none.
            def closing(*_error):
                for number in ends:
                    signal.signal(number, signal.SIG_IGN)
                return False

            try:
                code = main(stack)
            finally:
                closing()
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        code = 1
    except Interrupted as interrupted:
        print("interrupted; cleaned up", file=sys.stderr)
        code = 128 + interrupted.args[0]
    sys.exit(code)


def temporary_folder(stack, prefix):
    folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def start_process(stack, command, namespace=None, **options):
    """Starts a process that goes when the stack is unwound, and that dies with this program in any case.

    It has a session of its own, so that Ctrl-C reaches this program alone, which then ends the others in order.
    """
    wrapper = ["setpriv", "--pdeathsig", "KILL", "--"]
    if namespace:
        # Both replace themselves: the pid is that of the command.
        wrapper += ["nsenter", f"--net=/run/netns/{namespace}", "--"]
    process = subprocess.Popen(wrapper + [str(word) for word in command], start_new_session=True, **options)
    stack.callback(end_process, process)
    return process


def end_process(process):
    if process.poll() is None:
        process.kill()
    process.wait()


class Line:
    __slots__ = ("text", "at")

    def __init__(self, text, at):
        self.text = text
        self.at = at


class Lines:
    """Lines that arrive from a stream, each with its time; read by a thread of their own."""

    def __init__(self, stream, on_line=None):
        self.lines = []
        self.ended = False
        self.changed = threading.Condition()
        self.on_line = on_line
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream):
        try:
            for raw in stream:
                line = Line(raw.decode("utf-8", "replace").rstrip("\r\n"), time.time())
                with self.changed:
                    self.lines.append(line)
                    self.changed.notify_all()
                if self.on_line:
                    self.on_line(line)
        except (OSError, ValueError):
            pass
        finally:
            with self.changed:
                self.ended = True
                self.changed.notify_all()

    def count(self):
        with self.changed:
            return len(self.lines)

    def since(self, start=0):
        with self.changed:
            return self.lines[start:]

    def wait(self, wanted, what, timeout, start=0):
        """The first line from `start` on that `wanted` is true for."""
        deadline = time.monotonic() + timeout
        at = start
        with self.changed:
            while True:
                while at < len(self.lines):
                    line = self.lines[at]
                    at += 1
                    if wanted(line.text):
                        return line
                if self.ended:
                    raise Failure(f"{what}: the stream ended without it")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Failure(f"{what}: not within {timeout} s")
                self.changed.wait(left)


class Channel:
    """A unix socket that QEMU connects to when it starts, so that nothing it says is missed."""

    def __init__(self, path):
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.connection = None

    def accept(self, process, on_line=None):
        self.listener.settimeout(0.2)
        for _ in range(100):
            try:
                self.connection, _ = self.listener.accept()
                break
            except socket.timeout:
                if process.poll() is not None:
                    raise Failure(f"QEMU ended with {process.returncode}") from None
        else:
            raise Failure("QEMU does not connect")
        self.connection.settimeout(None)
        self.lines = Lines(self.connection.makefile("rb"), on_line)

    def send(self, text):
        try:
            self.connection.sendall(text.encode())
        except OSError as error:
            raise Failure(f"{self.path.name}: {error.strerror}") from None

    def close(self):
        self.listener.close()
        if self.connection:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            self.connection.close()


class Qemu:
    """A QEMU with a Linux guest, whose RAM is a file on tmpfs; it and its files go with the stack."""

    def __init__(self, stack, name, folder, binary, memory_mib, parameters="", incoming=False, namespace=None,
                 on_event=None, on_serial=None, machine=None):
        """`machine`: arguments that say what executes which guest, instead of the Linux guest under TCG."""
        self.name = name
        self.qmp_path = folder / f"{name}.qmp"
        self.log_path = folder / f"{name}.log"
        self.ram_path = SHARED_MEMORY / f"{folder.name}-{name}"
        self.events = []
        self._on_event = on_event
        self._ids = 0
        self._folder = folder
        stack.callback(self.ram_path.unlink, missing_ok=True)
        monitor = Channel(folder / f"{name}.monitor")
        stack.callback(monitor.close)
        serial = Channel(folder / f"{name}.serial")
        stack.callback(serial.close)
        command = [
            binary, "-name", name, "-machine", "pc,memory-backend=ram0",
            "-m", f"{memory_mib}M", "-smp", "1", "-nodefaults", "-display", "none", "-vga", "none",
            "-object", f"memory-backend-file,id=ram0,size={memory_mib}M,mem-path={self.ram_path},share=on",
            # One monitor for the agent, one of our own.
            "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
            "-chardev", f"socket,id=own,path={monitor.path}", "-mon", "chardev=own,mode=control",
            "-chardev", f"socket,id=serial,path={serial.path}", "-serial", "chardev:serial",
        ]
        command += machine or [
            "-accel", "tcg,thread=multi",
            "-kernel", ROOT / "target/guest/vmlinuz", "-initrd", ROOT / "target/guest/initramfs.cpio.gz",
            "-append", f"{QUICK_BOOT} {parameters}",
        ]
        if incoming:
            command += ["-incoming", "defer"]
        with open(self.log_path, "wb") as log:
            self.process = start_process(stack, command, namespace, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = self.process.pid
        try:
            monitor.accept(self.process, self._on_qmp)
            serial.accept(self.process, on_serial)
        except Failure as failure:
            raise Failure(f"{name}: {failure}: {self.log()}") from None
        self._monitor = monitor
        self._serial = serial
        self.serial = serial.lines
        self.qmp("qmp_capabilities")

    def log(self):
        return self.log_path.read_text("utf-8", "replace").strip()

    def _on_qmp(self, line):
        message = json.loads(line.text)
        if "event" not in message:
            return
        stamp = message["timestamp"]
        event = (message["event"], stamp["seconds"] + stamp["microseconds"] / 1e6, message.get("data", {}))
        self.events.append(event)
        if self._on_event:
            self._on_event(self, *event)

    def qmp(self, command, timeout=60, **arguments):
        self._ids += 1
        wanted = self._ids
        start = self._monitor.lines.count()
        request = {"execute": command, "id": wanted}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        self._monitor.send(json.dumps(request) + "\n")
        answer = self._monitor.lines.wait(
            lambda text: json.loads(text).get("id") == wanted, f"{self.name}: the answer to {command}", timeout, start)
        answer = json.loads(answer.text)
        if "error" in answer:
            raise Failure(f"{self.name}: {command}: {answer['error']['desc']}")
        return answer["return"]

    def event(self, name, timeout, **data):
        """When this event first happened, by QEMU's own time stamp."""

        def wanted(text):
            message = json.loads(text)
            return message.get("event") == name and data.items() <= message.get("data", {}).items()

        line = self._monitor.lines.wait(wanted, f"{self.name}: {name} {data or ''}".strip(), timeout)
        stamp = json.loads(line.text)["timestamp"]
        return stamp["seconds"] + stamp["microseconds"] / 1e6

    def ask(self, command, answer, timeout=120):
        """Says a command to the guest's program; returns the lines up to the one that starts with `answer`."""
        start = self.serial.count()
        self._serial.send(command + "\n")
        self.serial.wait(lambda text: text.startswith(answer), f"the guest's answer to {command}", timeout, start)
        lines = []
        for line in self.serial.since(start):
            lines.append(line.text)
            if line.text.startswith(answer):
                return lines
        raise AssertionError(answer)

    def await_guest(self, timeout=180):
        line = self.serial.wait(lambda text: text.startswith(("READY", "FAILED")), "the guest's READY", timeout)
        if line.text.startswith("FAILED"):
            raise Failure(f"the guest: {line.text}")
        return values_of(line.text)

    def ram_file_bytes(self):
        return self.ram_path.stat().st_blocks * 512


class Agent:
    """One of the two agents while it runs; afterwards what it printed and what it used."""

    def __init__(self, stack, name, command, namespace=None, environment=None):
        self.name = name
        self.process = start_process(stack, command, namespace, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, env=environment)
        self.pid = self.process.pid
        self.out = Lines(self.process.stdout)
        self.err = Lines(self.process.stderr)
        self.usage = None
        self.code = None

    def wait(self, timeout):
        """Waits for its end; its exit code, whatever it is."""
        deadline = time.monotonic() + timeout
        while not self.has_ended():
            if time.monotonic() > deadline:
                raise Failure(f"{self.name} is not done after {timeout} s: {self.messages()}")
            time.sleep(0.005)
        return self.code

    def has_ended(self):
        """Popen.poll() would do, but an interrupt in it can leave its lock taken, and end_process() waiting for ever."""
        if self.code is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.usage = usage
                self.code = self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def await_listening(self, timeout=60):
        """The port that the dest agent listens on."""
        deadline = time.monotonic() + timeout
        while True:
            for line in self.err.since() + self.out.since():
                if line.text.startswith("listening on "):
                    return int(line.text.rsplit(":", 1)[1])
            if self.err.ended and self.process.poll() is not None:
                raise Failure(f"{self.name} ended with {self.process.returncode}: {self.messages()}")
            if time.monotonic() > deadline:
                raise Failure(f"{self.name} does not listen: {self.messages()}")
            time.sleep(0.01)

    def report(self):
        """The last line that it printed, which is its report, and when it did so; None where there is none."""
        for line in reversed(self.out.since()):
            with contextlib.suppress(ValueError):
                return json.loads(line.text), line.at
        return None, None

    def messages(self):
        return " / ".join(line.text for line in self.err.since()[-5:]) or "it said nothing"


def values_of(line):
    """READY pages=1 threads=2 → {"pages": "1", "threads": "2"}"""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


class Heartbeat:
    """HB sequence mono_ms ops=N errors=N"""

    def __init__(self, line):
        words = line.text.split()
        values = values_of(line.text)
        self.at = line.at
        self.sequence = int(words[1])
        self.guest_s = int(words[2]) / 1000
        self.ops = int(values["ops"])
        self.errors = int(values["errors"])

    @staticmethod
    def all_of(lines):
        return [Heartbeat(line) for line in lines if line.text.startswith("HB ")]
