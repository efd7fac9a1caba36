"""Live TCP connections as the kernel tells of them, by `ss` of iproute2.

Traffic that stays on the machine (loopback, or an address with itself) is left out: it has no
network to be tuned for.
"""

from __future__ import annotations

import ipaddress
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from config.errors import UnavailableError
from optimizers.targets.network_flows import Connection

# Extended (a cookie that names the socket), with memory, one line each.
_ESTABLISHED = ("ss", "-tinOHem", "state", "established")
_LISTENING = ("ss", "-tlnH")
_MAX_BYTES = 32 * 1024 * 1024

_COOKIE = re.compile(r"\bsk:([0-9a-f]+)")
_ALGORITHM = re.compile(r"([a-z0-9_-]+) (?:wscale:\S+ )?rto:")
_BUFFER = re.compile(r"skmem:\(r\d+,rb(\d+),")
_ROUND_TRIP = re.compile(r" rtt:([\d.]+)")
_RECEIVER_ROUND_TRIP = re.compile(r" rcv_rtt:([\d.]+)")
_LEAST_ROUND_TRIP = re.compile(r" minrtt:([\d.]+)")
_ACKED = re.compile(r" bytes_acked:(\d+)")
_RECEIVED = re.compile(r" bytes_received:(\d+)")
_BUSY = re.compile(r" busy:(\d+)ms")
_PEER_LIMITED = re.compile(r" rwnd_limited:(\d+)ms")
_SEND_LIMITED = re.compile(r" sndbuf_limited:(\d+)ms")


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket: where, and how many connections it lets wait."""

    address: str
    backlog: int


def read_connections(timeout_s: float) -> tuple[Connection, ...]:
    """The connections of the calling thread's namespace.

    Raises:
        UnavailableError: `ss` is missing, fails, or takes too long.
    """
    lines = _run(_ESTABLISHED, timeout_s).splitlines()
    found = (parse_connection(line) for line in lines)
    return tuple(one for one in found if one is not None)


def read_listeners(timeout_s: float) -> tuple[Listener, ...]:
    """The listening sockets of the calling thread's namespace; errors as above."""
    return parse_listeners(_run(_LISTENING, timeout_s))


def parse_listeners(text: str) -> tuple[Listener, ...]:
    """The lines of `ss` about listening sockets."""
    lines = [line.split() for line in text.splitlines()]
    fit = [parts for parts in lines if len(parts) > 3 and parts[2].isdigit()]
    return tuple(Listener(parts[3], int(parts[2])) for parts in fit)


def parse_connection(line: str) -> Connection | None:
    """One line of `ss`; None for one that stays on the machine or has no socket behind it."""
    parts = line.split(maxsplit=4)
    cookie, algorithm = _COOKIE.search(line), _ALGORITHM.search(line)
    if len(parts) < 5 or cookie is None or algorithm is None:
        return None
    local, peer = _host(parts[2]), _host(parts[3])
    if local == peer or _is_loopback(peer):
        return None
    round_trip = _number(_ROUND_TRIP, line)
    acked = int(_number(_ACKED, line))
    if not acked:  # it only receives, and measured its round trip at the handshake alone
        round_trip = _number(_RECEIVER_ROUND_TRIP, line) or round_trip
    return Connection(
        key=cookie.group(1),
        peer=peer,
        algorithm=algorithm.group(1),
        round_trip_ms=round_trip,
        least_round_trip_ms=_number(_LEAST_ROUND_TRIP, line),
        acked=acked,
        received=int(_number(_RECEIVED, line)),
        busy_ms=int(_number(_BUSY, line)),
        peer_limited_ms=int(_number(_PEER_LIMITED, line)),
        send_limited_ms=int(_number(_SEND_LIMITED, line)),
        receive_buffer=int(_number(_BUFFER, line)),
    )


def _number(pattern: re.Pattern[str], line: str) -> float:
    """A number of a line; `ss` leaves out what is 0."""
    found = pattern.search(line)
    return float(found.group(1)) if found else 0.0


def _host(address: str) -> str:
    host = address.rsplit(":", 1)[0].strip("[]").split("%", 1)[0]
    return host.removeprefix("::ffff:")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _run(command: Sequence[str], timeout_s: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise UnavailableError(
            "`ss` is not installed, so no connection can be looked at; install iproute2"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"`ss` gave no answer: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[:200]
        raise UnavailableError(f"`ss` failed: {said or f'exit code {done.returncode}'}")
    if len(done.stdout) > _MAX_BYTES:
        raise UnavailableError("there are more connections than can be looked at")
    return done.stdout.decode(errors="replace")
