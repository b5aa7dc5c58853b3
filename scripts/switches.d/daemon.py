"""An agent that serves, and what it is told on its control socket."""

import contextlib
import json
import socket
import subprocess
import time

import lab

PATIENCE_S = 120
UNLIMITED = (1 << 63) - 1


class Gone(lab.Failure):
    """The agent has ended, does not answer or does not come to an end: nothing can go on."""


class Refused(lab.Failure):
    """The agent does not do this, and goes on."""


class Daemon:
    """Spoken to as its own commands do it: a JVM for each would take longer than a migration. Any thread may do so."""

    def __init__(self, stack, name, state, *options):
        self.name = name
        self.agent = lab.Agent(stack, name, [lab.ROOT / "scripts" / name, "serve", "--state-dir", state, *options])
        self._socket = state / f"{name}.sock"

    def await_ready(self):
        deadline = time.monotonic() + PATIENCE_S
        while not self._socket.exists():
            if self.agent.has_ended() or time.monotonic() > deadline:
                raise self._gone()
            time.sleep(0.01)

    def require_serving(self):
        if self.agent.err.ended:
            raise self._gone()

    def tell(self, command, vm, **fields):
        for _ in self._answers(command, vm, **fields):
            pass

    def follow(self, command, vm, **fields):
        """A migration's state every quarter of a second; the last one is that of a migration that is completed."""
        deadline = time.monotonic() + PATIENCE_S
        for state in self._answers(command, vm, **fields):
            if state["ended"] and state["exit_code"] != 0:
                report = state["report"]
                raise lab.Failure(f"{self.name}: exit code {state['exit_code']}, {report['status']}:"
                                  f" {report.get('reason')}")
            yield state
            if state["ended"]:
                return
            if time.monotonic() > deadline:
                raise Gone(f"{self.name} is not done after {PATIENCE_S} s: {self.agent.messages()}")
        raise self._gone()

    def _answers(self, command, vm, **fields):
        request = json.dumps({"command": command, "vm": vm, **fields}) + "\n"
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PATIENCE_S)
                connection.connect(str(self._socket))
                connection.sendall(request.encode())
                for line in connection.makefile("rb"):
                    answer = json.loads(line)
                    if "refused" in answer:
                        raise Refused(f"{self.name}: {answer['refused']}")
                    yield answer
        except OSError as error:
            raise self._gone(f" ({error})") from None

    def _gone(self, why=""):
        # Its sockets are closed before it can be waited for.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.agent.process.wait(5)
        code = self.agent.process.returncode
        how = "does not answer" if code is None else f"ended with {code}"
        return Gone(f"{self.name} {how}{why}: {self.agent.messages()}")
