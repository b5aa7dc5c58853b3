"""A plain TCP stream, which is what a link and its hosts carry at best: stream.py receive ADDRESS, then stream.py send
ADDRESS PORT SECONDS. The receiver prints its port, and at the end the Mbit/s that it got."""

import socket
import sys
import time

CHUNK = 1 << 20


def receive(address):
    listener = socket.create_server((address, 0))
    print(listener.getsockname()[1], flush=True)
    connection, _ = listener.accept()
    buffer, count, start = bytearray(CHUNK), 0, time.monotonic()
    while got := connection.recv_into(buffer):
        count += got
    print(round(count * 8e-6 / (time.monotonic() - start)))


def send(address, port, seconds):
    chunk, end = bytes(CHUNK), time.monotonic() + float(seconds)
    with socket.create_connection((address, int(port))) as connection:
        while time.monotonic() < end:
            connection.sendall(chunk)


if __name__ == "__main__":
    {"receive": receive, "send": send}[sys.argv[1]](*sys.argv[2:])
