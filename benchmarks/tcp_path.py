"""A network path of given delay and rate between two namespaces, as a process of its own.

`python -m benchmarks.tcp_path SENDER RECEIVER --delay-ms D` puts a TUN device into each of two
namespaces and carries every packet from one to the other D milliseconds later, in order. It stands
in for `netem`, which not every kernel has. The rate is the kernel's own (`tbf` on each device, with
a queue of one bandwidth-delay product): so is all that TCP makes of delay, rate and loss.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import selectors
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from benchmarks.tcp_namespaces import Scene, end_with_parent

DEVICE = "path0"
ADDRESSES = ("10.78.0.1", "10.78.0.2")

_TUN = "/dev/net/tun"
_SETIFF = 0x400454CA
_TUN_NO_INFO = 0x0001 | 0x1000
_CLONE_NEWNET = 0x40000000
_MTU = 1500
_MOST_WAITING = 20_000
_MOST_AT_ONCE = 64


@contextmanager
def path_between(scene: Scene, *, delay_ms: float, mbit: float) -> Iterator[str]:
    """Run a path until the block ends; gives the receiver's address on it.

    Args:
        scene: the two namespaces.
        delay_ms: each way.
        mbit: most megabits a second each way.
    """
    command = [sys.executable, "-m", "benchmarks.tcp_path", scene.sender, scene.receiver]
    command += ["--delay-ms", str(delay_ms)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError("the path between the namespaces could not be laid")
        queue = max(30_000, int(mbit * 1e6 / 8 * 2 * delay_ms / 1000))
        for name, address in zip((scene.sender, scene.receiver), ADDRESSES, strict=True):
            _prepare(name, address, mbit, queue)
        yield ADDRESSES[1]
    finally:
        process.terminate()
        process.communicate()


def _prepare(name: str, address: str, mbit: float, queue: int) -> None:
    shaped = ("tbf", "rate", f"{mbit}mbit", "burst", "32kb", "limit", str(queue))
    for command in (
        ("ip", "-n", name, "addr", "add", f"{address}/30", "dev", DEVICE),
        ("ip", "-n", name, "link", "set", DEVICE, "up"),
        ("tc", "-n", name, "qdisc", "replace", "dev", DEVICE, "root", *shaped),
    ):
        subprocess.run(command, check=True, capture_output=True, timeout=30.0)


@dataclass(slots=True)
class _Way:
    """One direction: where packets come from and go to, and those under way."""

    source: int
    sink: int
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)

    def take(self, delay_s: float) -> None:
        """Take what has come in."""
        due = time.monotonic() + delay_s
        for _ in range(_MOST_AT_ONCE):
            try:
                packet = os.read(self.source, _MTU + 100)
            except BlockingIOError:
                return
            if len(self.waiting) < _MOST_WAITING:
                self.waiting.append((due, packet))

    def deliver(self, now: float) -> None:
        """Hand on what has been under way for its time."""
        waiting = self.waiting
        while waiting and waiting[0][0] <= now:
            with suppress(OSError):  # a full or vanished device drops it, as networks do
                os.write(self.sink, waiting.popleft()[1])


def carry(ends: Sequence[int], delay_s: float) -> None:
    """Carry packets both ways until the process is ended."""
    ways = (_Way(ends[0], ends[1]), _Way(ends[1], ends[0]))
    with selectors.DefaultSelector() as selector:
        for way in ways:
            selector.register(way.source, selectors.EVENT_READ, way)
        while True:
            due = min((way.waiting[0][0] for way in ways if way.waiting), default=None)
            left = None if due is None else max(0.0, due - time.monotonic())
            for key, _ in selector.select(left):
                key.data.take(delay_s)
            now = time.monotonic()
            for way in ways:
                way.deliver(now)


def _device_in(namespace: str) -> int:
    """A TUN device in a namespace; it lives as long as the descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    door = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    if libc.setns(door, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"namespace {namespace} cannot be entered")
    os.close(door)
    device = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _SETIFF, struct.pack("16sH22x", DEVICE.encode(), _TUN_NO_INFO))
    return device


def main(arguments: Sequence[str] | None = None) -> int:
    """Lay the path, say so, and carry until ended."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tcp_path")
    parser.add_argument("sender")
    parser.add_argument("receiver")
    parser.add_argument("--delay-ms", type=float, required=True, help="each way")
    options = parser.parse_args(arguments)
    ends = [_device_in(name) for name in (options.sender, options.receiver)]
    end_with_parent()
    print("ready", flush=True)
    carry(ends, options.delay_ms / 1000.0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
