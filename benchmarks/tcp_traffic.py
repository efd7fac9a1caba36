"""Transfers between two namespaces, as processes of their own: as much as TCP lets through.

`receive` takes all that comes and keeps the count of bytes in a small file that it shares.
`send` opens one connection after the other and fills each for a while: new connections keep coming,
as with clients that come and go.
"""

from __future__ import annotations

import argparse
import mmap
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tcp_namespaces import end_with_parent

PORT = 7700

_CHUNK = bytes(256 * 1024)
_COUNT = struct.Struct("<Q")
_ABORT = struct.pack("ii", 1, 0)
_ARRIVAL_S = 20.0


@dataclass(frozen=True, slots=True)
class Receiver:
    """A process that receives in a namespace; the file holds its count."""

    file: Path

    def count(self) -> int:
        """Bytes received so far."""
        return int(_COUNT.unpack(self.file.read_bytes()[: _COUNT.size])[0])

    def await_more_than(self, count: int) -> None:
        """Wait until more bytes than these have come in.

        Raises:
            RuntimeError: none came for a long time.
        """
        deadline = time.monotonic() + _ARRIVAL_S
        while self.count() <= count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing arrived within {_ARRIVAL_S:g} s")
            time.sleep(0.001)

    def rate(self, seconds: float) -> float:
        """Bytes a second over the next `seconds`."""
        begun, before = time.monotonic(), self.count()
        time.sleep(seconds)
        return (self.count() - before) / (time.monotonic() - begun)


@contextmanager
def receiving(namespace: str, folder: Path) -> Iterator[Receiver]:
    """Receive in a namespace until the block ends."""
    file = folder / f"{namespace}.count"
    file.write_bytes(_COUNT.pack(0))
    with _process(namespace, "receive", str(file)) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"nothing can be received in namespace {namespace}")
        yield Receiver(file)


@contextmanager
def sending(namespace: str, address: str, *, each_s: float, connections: int = 1) -> Iterator[None]:
    """Send from a namespace until the block ends.

    Args:
        namespace: where from.
        address: where to.
        each_s: how long one connection lives.
        connections: how many at a time.
    """
    options = (address, "--each-s", str(each_s), "--connections", str(connections))
    with _process(namespace, "send", *options):
        yield


@contextmanager
def _process(namespace: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "benchmarks.tcp_traffic"]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def receive(file: Path) -> None:
    """Take all that comes, and count it, until the process is ended."""
    with (
        socket.create_server(("", PORT), backlog=64) as server,
        file.open("r+b") as shared,
        mmap.mmap(shared.fileno(), _COUNT.size) as count,
        selectors.DefaultSelector() as selector,
    ):
        selector.register(server, selectors.EVENT_READ)
        buffer = bytearray(1 << 20)
        total = 0
        print("ready", flush=True)
        while True:
            for key, _ in selector.select():
                if key.fileobj is server:
                    selector.register(server.accept()[0], selectors.EVENT_READ)
                    continue
                total += _taken(selector, key.fileobj, buffer)
                count[: _COUNT.size] = _COUNT.pack(total)


def _taken(selector: selectors.BaseSelector, source: object, buffer: bytearray) -> int:
    """What one connection had to give; at its end it is let go."""
    assert isinstance(source, socket.socket)
    taken = 0
    with suppress(OSError):
        taken = source.recv_into(buffer)
    if not taken:
        selector.unregister(source)
        source.close()
    return taken


def send(address: str, each_s: float, connections: int) -> None:
    """Fill connections, each for a while, until the process is ended."""
    with selectors.DefaultSelector() as selector:
        for number in range(connections):
            # They do not all begin anew at the same moment.
            _connect(selector, address, each_s * (1 + number / connections))
        while True:
            due = min(one.data for one in selector.get_map().values())
            for key, _ in selector.select(max(0.0, due - time.monotonic())):
                _fill(key.fileobj)
            now = time.monotonic()
            for key in [one for one in selector.get_map().values() if one.data <= now]:
                _abort(selector, key.fileobj)
                _connect(selector, address, each_s)


def _connect(selector: selectors.BaseSelector, address: str, seconds: float) -> None:
    connection = socket.socket()
    # One whose first packet is lost must not hold up the others.
    connection.setblocking(False)
    connection.connect_ex((address, PORT))
    selector.register(connection, selectors.EVENT_WRITE, time.monotonic() + seconds)


def _fill(connection: object) -> None:
    assert isinstance(connection, socket.socket)
    with suppress(OSError):
        connection.send(_CHUNK)


def _abort(selector: selectors.BaseSelector, connection: object) -> None:
    """End a connection at once; what is under way is not waited for."""
    assert isinstance(connection, socket.socket)
    selector.unregister(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    connection.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Receive or send until ended."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tcp_traffic")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("receive").add_argument("file", type=Path)
    sender = commands.add_parser("send")
    sender.add_argument("address")
    sender.add_argument("--each-s", type=float, required=True)
    sender.add_argument("--connections", type=int, default=1)
    options = parser.parse_args(arguments)
    end_with_parent()
    if options.command == "receive":
        receive(options.file)
    else:
        send(options.address, options.each_s, options.connections)
    return 0


if __name__ == "__main__":
    sys.exit(main())
