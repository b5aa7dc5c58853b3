"""The network between the agents: passes frames on, tells which, and can be cut, stalled and switched off."""

import contextlib
import socket
import struct
import threading
import time

DEMAND, BULK = "demand", "bulk"

FRAMES = {
    1: "HELLO", 2: "WELCOME", 3: "REFUSE", 4: "READY", 5: "DEVICE_STATE", 6: "DEVICE_STATE_END", 7: "LOADED",
    8: "COMMIT", 9: "RUNNING", 10: "REQUEST", 11: "PAGES", 12: "ZERO", 13: "ACK", 14: "END", 15: "COMPLETE",
    16: "CONFIRMED", 17: "ABORT", 18: "PING", 19: "PONG", 20: "RECEIVED", 21: "RECEIVED_END",
    22: "DISCARD",
}
# Of these only the first is noted.
MANY = {"DEVICE_STATE", "REQUEST", "PAGES", "ZERO", "ACK", "PING", "PONG", "RECEIVED", "DISCARD"}
HEADER_BYTES = 12
CHUNK_BYTES = 1 << 17

# Of HELLO: version u16, session 16 bytes, then the role.
ROLE_OFFSET = 18


class Trap:
    """Runs an action, once, at a frame: before it goes on, or just after. The frame's direction waits meanwhile."""

    def __init__(self, frame, count, after, action):
        self.frame = frame
        self.left = count
        self.after = after
        self.action = action


class Proxy:
    """Listens in place of the destination agent, and opens a connection to it for each that it accepts."""

    def __init__(self, stack, target_port):
        # What has come by, and when.
        self.seen = {}
        self.log = []
        self.target_port = target_port
        self.lock = threading.Lock()
        self.pairs = []
        self.trap = None
        self.down_until = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        stack.callback(self._close)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client):
        if time.monotonic() < self.down_until:
            reset(client)
            return
        try:
            server = socket.create_connection(("127.0.0.1", self.target_port))
        except OSError:
            reset(client)
            return
        pair = Pair(self, client, server)
        with self.lock:
            self.pairs.append(pair)
        pair.start()

    def _close(self):
        # Closing alone does not wake a thread in accept().
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut((DEMAND, BULK), hard=True)

    def note(self, text):
        self.log.append(f"{time.time():.3f} {text}")

    def open_pairs(self, roles):
        with self.lock:
            return [pair for pair in self.pairs if not pair.is_closed and (pair.role in roles or len(roles) == 2)]

    def cut(self, roles, hard):
        for pair in self.open_pairs(roles):
            self.note(f"cut {pair.role}")
            pair.cut(hard)

    def stall(self, roles, seconds):
        for pair in self.open_pairs(roles):
            self.note(f"stall {pair.role} for {seconds} s")
            pair.stalled_until = time.monotonic() + seconds

    def switch_off(self, seconds):
        self.down_until = time.monotonic() + seconds
        self.cut((DEMAND, BULK), hard=True)

    def on_frame(self, frame, role):
        """The trap that this frame springs, or None."""
        with self.lock:
            count = self.seen[frame] = self.seen.get(frame, 0) + 1
            if count == 1 or frame not in MANY:
                self.note(f"{frame} on {role}")
            trap = self.trap
            if trap is None or trap.frame != frame:
                return None
            trap.left -= 1
            if trap.left > 0:
                return None
            self.trap = None
            return trap


class Pair:
    """A connection of the source and the one to the destination that stands for it."""

    def __init__(self, proxy, client, server):
        self.proxy = proxy
        self.sockets = client, server
        self.role = "?"
        self.stalled_until = 0
        self.is_closed = False
        self.ended_ways = 0
        for one in self.sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self):
        client, server = self.sockets
        for way in ((client, server), (server, client)):
            threading.Thread(target=self._forward, args=way, daemon=True).start()

    def cut(self, hard):
        self.is_closed = True
        for one in self.sockets:
            if hard:
                reset(one)
            else:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _forward(self, start, end):
        # What is held back of a header that came in part.
        held = b""
        body_left = 0
        try:
            while True:
                data = start.recv(CHUNK_BYTES)
                if not data:
                    break
                data = held + data
                sent = at = 0
                while at < len(data):
                    if body_left:
                        step = min(body_left, len(data) - at)
                        body_left -= step
                        at += step
                        continue
                    if len(data) - at < HEADER_BYTES:
                        break
                    frame = FRAMES.get(data[at + 2], "?")
                    body_left = struct.unpack_from(">I", data, at + 4)[0]
                    if frame == "HELLO" and len(data) > at + HEADER_BYTES + ROLE_OFFSET:
                        self.role = BULK if data[at + HEADER_BYTES + ROLE_OFFSET] else DEMAND
                    trap = self.proxy.on_frame(frame, self.role)
                    frame_end = min(at + HEADER_BYTES + body_left, len(data))
                    if trap:
                        self._send(end, data[sent:at if not trap.after else frame_end])
                        sent = at if not trap.after else frame_end
                        trap.action()
                    at += HEADER_BYTES
                self._send(end, data[sent:at])
                held = data[at:]
        except OSError:
            pass
        finally:
            self._end(end)

    def _send(self, end, data):
        while (left := self.stalled_until - time.monotonic()) > 0:
            if self.is_closed:
                raise OSError("cut")
            time.sleep(min(left, 0.02))
        end.sendall(data)

    def _end(self, end):
        """What one side has closed is closed for the other too, unless the network is not there to tell it."""
        while time.monotonic() < self.stalled_until and not self.is_closed:
            time.sleep(0.02)
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_WR)
        with self.proxy.lock:
            self.ended_ways += 1
            last = self.ended_ways == 2
        if last:
            self.is_closed = True
            for one in self.sockets:
                one.close()


def reset(connection):
    """Closes it as a host does that has lost its memory of it: with RST, and what was not read is gone."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # A thread in recv() keeps the socket alive until it is woken.
        connection.shutdown(socket.SHUT_RD)
        connection.close()
