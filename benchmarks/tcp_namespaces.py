"""Network namespaces for measuring TCP: made, joined, made lossy, and always taken away again.

All names begin with a prefix and hold the id of the process that made them, so what a killed run
has left behind is found and removed by the next one. Nothing leaves the machine: the namespaces are
joined with each other only.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

PREFIX = "pstcp"
DEVICE = "link0"
ADDRESSES = ("10.77.0.1", "10.77.0.2")

CHALLENGER = "bbr"
"""The congestion control that is offered besides, where the kernel has it."""

_SET_DEATH_SIGNAL = 1
_ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
_OFFERED = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
_TURN = Path("/run/prime-spark-tcp.turn")
_USERS = Path("/run/prime-spark-tcp.users")
_NAMED = Path("/run/netns")
_LOSS = """
table inet loss {
  chain incoming {
    type filter hook input priority 0
    meta l4proto tcp numgen random mod 1000 < %d drop
  }
}
"""


def missing() -> str:
    """Why no namespace can be made here, in a sentence; empty when one can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not os.access(_ALLOWED, os.W_OK):
        return f"{_ALLOWED} cannot be written: this is not the machine's first namespace"
    name = f"{PREFIX}{os.getpid()}x"
    try:
        _run("nft", "--version")
        _run("ip", "netns", "add", name)
    except FileNotFoundError as error:
        return f"{error.filename} is missing; install iproute2 and nftables"
    except subprocess.CalledProcessError as error:
        return f"the kernel makes no network namespace: {_said(error)}"
    _run("ip", "netns", "del", name)
    return ""


@dataclass(frozen=True, slots=True)
class Scene:
    """Two namespaces that are joined with each other: a sender's and a receiver's."""

    sender: str
    receiver: str

    @property
    def address(self) -> str:
        """Of the receiver, as the sender has it."""
        return ADDRESSES[1]

    def set_loss(self, share: float) -> None:
        """Drop this share of the TCP packets that arrive at the receiver, at random."""
        inside(self.receiver, "nft", "flush", "ruleset")
        if share > 0:
            rules = _LOSS % round(1000 * share)
            inside(self.receiver, "nft", "-f", "-", text=rules)

    def set_knob(self, namespace: str, name: str, value: str) -> None:
        """Set a `sysctl` of one of the two."""
        path = "/proc/sys/" + name.replace(".", "/")
        inside(namespace, "sh", "-c", 'echo "$1" > "$2"', "sh", value, path)


def inside(namespace: str, *command: str, text: str | None = None) -> str:
    """Run a command in a namespace; return what it says."""
    return _run("ip", "netns", "exec", namespace, *command, text=text)


@contextmanager
def two_namespaces(tag: str = "", algorithm: str = "cubic") -> Iterator[Scene]:
    """Two namespaces with this congestion control, joined by a veth pair, until the block ends.

    Args:
        tag: letters that tell scenes of one process apart.
        algorithm: the congestion control they begin with.
    """
    stem = f"{PREFIX}{os.getpid()}{tag}"
    scene = Scene(f"{stem}a", f"{stem}b")
    sweep()
    for one in (algorithm, CHALLENGER):
        with suppress(FileNotFoundError, subprocess.CalledProcessError):
            _run("modprobe", "-q", f"tcp_{one}")
    with _allowed((algorithm, CHALLENGER)):
        try:
            for name in (scene.sender, scene.receiver):
                _remove(name)
                _run("ip", "netns", "add", name)
                _run("ip", "-n", name, "link", "set", "lo", "up")
                scene.set_knob(name, "net.ipv4.tcp_congestion_control", algorithm)
            _join(scene)
            yield scene
        finally:
            _remove(scene.sender)
            _remove(scene.receiver)


def sweep() -> Sequence[str]:
    """Remove the namespaces of runs that are gone; return their names."""
    left = [one.name for one in _NAMED.glob(f"{PREFIX}*")] if _NAMED.is_dir() else []
    gone = [name for name in left if not _alive(name)]
    for name in gone:
        _remove(name)
    return gone


def end_with_parent() -> None:
    """Have this process end when the one that started it does, however that ends."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)


def all_knobs(namespace: str) -> Mapping[str, bytes]:
    """Every TCP setting and every other of IPv4 and the core that can be read, byte for byte."""
    script = (
        "import json,pathlib\n"
        "found={}\n"
        "for folder in ('ipv4','core'):\n"
        "  for one in sorted(pathlib.Path('/proc/sys/net',folder).iterdir()):\n"
        "    try: found[folder+'.'+one.name]=one.read_bytes().hex() if one.is_file() else ''\n"
        "    except OSError: pass\n"
        "print(json.dumps(found))"
    )
    found = json.loads(inside(namespace, sys.executable, "-c", script))
    return {name: bytes.fromhex(value) for name, value in found.items()}


def _join(scene: Scene) -> None:
    ends = ("peer", "name", DEVICE, "netns", scene.receiver)
    _run("ip", "link", "add", DEVICE, "netns", scene.sender, "type", "veth", *ends)
    pairs = zip((scene.sender, scene.receiver), ADDRESSES, strict=True)
    for name, address in pairs:
        _run("ip", "-n", name, "addr", "add", f"{address}/30", "dev", DEVICE)
        _run("ip", "-n", name, "link", "set", DEVICE, "up")


@contextmanager
def _allowed(algorithms: Sequence[str]) -> Iterator[None]:
    """Let namespaces use these congestion controls, as far as the kernel has them, for a while.

    Outside of the first namespace only those can be set that are allowed to everybody. The list is
    of the whole machine: whoever is the last to need more puts it back as it was found.
    """
    with _USERS.open("a+") as users:
        with _alone():
            fcntl.flock(users, fcntl.LOCK_SH)
            _allow(users, algorithms)
        try:
            yield
        finally:
            with _alone(), suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _restore(users)


def _allow(users: TextIO, algorithms: Sequence[str]) -> None:
    before, offered = _ALLOWED.read_text(), _OFFERED.read_text().split()
    more = [one for one in algorithms if one in offered and one not in before.split()]
    if not more:
        return
    users.seek(0)
    if not users.read():
        users.write(before)
        users.flush()
    _ALLOWED.write_text(f"{before.strip()} {' '.join(more)}\n")


def _restore(users: TextIO) -> None:
    users.seek(0)
    original = users.read()
    if original:
        _ALLOWED.write_text(original)
        users.truncate(0)


@contextmanager
def _alone() -> Iterator[None]:
    with _TURN.open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def _alive(name: str) -> bool:
    pid = name.removeprefix(PREFIX).rstrip("abcdefghijklmnopqrstuvwxyz")
    return pid.isdigit() and Path("/proc", pid).is_dir()


def _remove(name: str) -> None:
    with suppress(subprocess.CalledProcessError):
        _run("ip", "netns", "del", name)


def _run(*command: str, text: str | None = None) -> str:
    done = subprocess.run(
        command, check=True, capture_output=True, input=text, text=True, timeout=30.0
    )
    return done.stdout


def _said(error: subprocess.CalledProcessError) -> str:
    return str(error.stderr or error).strip()
