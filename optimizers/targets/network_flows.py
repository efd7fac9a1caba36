"""What connections came to between two looks: speeds, delays, and what held them back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# A buffer this close to the largest has stopped growing: the kernel grows it in steps.
_NEARLY = 0.9
# Where other congestion controls take more than this share of the time, speeds under the one that
# is set now say little about it: the others compete for the same network.
_OTHERS = 0.2
# Of its receive buffer, what arrives in a round trip when the buffer is what holds it back.
_FILLED = 0.2
_LEAST_BYTES = 4096
# A connection that has hardly begun has no speed yet.
_LEAST_BUSY_MS = 100
# A path whose queue holds as much as is under way, as is usual, doubles the round trip when full.
_QUEUED = 3.0


@dataclass(frozen=True, slots=True)
class Connection:
    """One established connection, seen from one of its ends, since it began.

    Attributes:
        key: names the socket; no other socket of this machine has had it.
        algorithm: its congestion control.
        round_trip_ms, least_round_trip_ms: smoothed, and the least there was.
        acked, received: bytes that the other side has acknowledged, and that came in.
        busy_ms: time with data under way or waiting to be sent.
        peer_limited_ms, send_limited_ms: of that, held back by the other side's window, and by the
            own send buffer.
        receive_buffer: its size now, bytes.
    """

    key: str
    peer: str
    algorithm: str
    round_trip_ms: float
    least_round_trip_ms: float
    acked: int
    received: int
    busy_ms: int
    peer_limited_ms: int
    send_limited_ms: int
    receive_buffer: int


@dataclass(frozen=True, slots=True)
class Flow:
    """What one connection gained between two looks; `fresh` if it was born in between."""

    connection: Connection
    acked: int
    received: int
    busy_ms: int
    peer_limited_ms: int
    send_limited_ms: int
    fresh: bool

    @property
    def traffic(self) -> int:
        """Bytes both ways."""
        return self.acked + self.received


def flows_between(before: Iterable[Connection], now: Iterable[Connection]) -> tuple[Flow, ...]:
    """The gains of the connections there are now; those that are new count from their birth."""
    known = {one.key: one for one in before}
    return tuple(_flow(known.get(one.key), one) for one in now)


def _flow(before: Connection | None, now: Connection) -> Flow:
    if before is None:
        gains = (now.acked, now.received, now.busy_ms, now.peer_limited_ms, now.send_limited_ms)
        return Flow(now, *gains, fresh=True)
    return Flow(
        now,
        now.acked - before.acked,
        now.received - before.received,
        now.busy_ms - before.busy_ms,
        now.peer_limited_ms - before.peer_limited_ms,
        now.send_limited_ms - before.send_limited_ms,
        fresh=False,
    )


def goodput(flows: Sequence[Flow], algorithm: str) -> float | None:
    """Acknowledged bytes a second of the time in which there was something to send.

    Only connections under the congestion control that is set now count: others keep the one they
    were born with. None while those others are many, and while next to nothing is sent.
    """
    busy = sum(one.busy_ms for one in flows)
    own = [one for one in flows if one.connection.algorithm == algorithm]
    own_busy = sum(one.busy_ms for one in own)
    if own_busy < max(_LEAST_BUSY_MS, (1.0 - _OTHERS) * busy):
        return None
    return 1000.0 * sum(one.acked for one in own) / own_busy


def receive_rate(flows: Sequence[Flow], seconds: float) -> float | None:
    """Bytes a second that came in on a connection which was receiving, on average.

    None while nothing came in. One that was born in between counts as if it had been there all the
    time, so connections shorter than `seconds` seem slower than they are.
    """
    receiving = [one for one in flows if _receives(one)]
    if not receiving or seconds <= 0:
        return None
    return sum(one.received for one in receiving) / (seconds * len(receiving))


def receive_limited(flows: Sequence[Flow], largest: int, seconds: float) -> float | None:
    """The share of what came in on connections that fill a receive buffer which is the largest.

    A buffer is filled when a good part of it arrives within one round trip: the kernel offers the
    other side about half of it.
    """
    receiving = [one for one in flows if _receives(one)]
    total = sum(one.received for one in receiving)
    full = [one for one in receiving if _fills(one, largest, seconds)]
    return sum(one.received for one in full) / total if total and seconds > 0 else None


def _receives(flow: Flow) -> bool:
    """More than it sends, and more than questions and answers are."""
    return flow.received > max(_LEAST_BYTES, flow.acked)


def _fills(flow: Flow, largest: int, seconds: float) -> bool:
    buffer, trip_s = flow.connection.receive_buffer, flow.connection.round_trip_ms / 1000.0
    grown = buffer >= _NEARLY * largest
    return grown and flow.received / seconds * trip_s >= _FILLED * buffer


def send_limited(flows: Sequence[Flow]) -> float | None:
    """The share of sending time that was held back by the own send buffer."""
    return _share((one.send_limited_ms, one.busy_ms) for one in flows)


def peer_limited(flows: Sequence[Flow]) -> float | None:
    """The share of sending time that was held back by the other side's receive window."""
    return _share((one.peer_limited_ms, one.busy_ms) for one in flows)


def fresh_share(flows: Sequence[Flow]) -> float | None:
    """The share of the traffic on connections born since the last look."""
    return _share((one.traffic if one.fresh else 0, one.traffic) for one in flows)


def round_trips(flows: Iterable[Flow]) -> list[tuple[float, int]]:
    """Round trips with the bytes they stand for, the shortest first; without traffic none."""
    known = [one for one in flows if one.traffic > 0 and one.connection.round_trip_ms > 0]
    return sorted((one.connection.round_trip_ms, one.traffic) for one in known)


def least_round_trips(flows: Iterable[Flow]) -> list[tuple[float, int]]:
    """The least round trips there were, likewise."""
    known = [one for one in flows if one.traffic > 0 and one.connection.least_round_trip_ms > 0]
    return sorted((one.connection.least_round_trip_ms, one.traffic) for one in known)


def weighted_quantile(sorted_weights: Sequence[tuple[float, int]], share: float) -> float | None:
    """The value below which this share of the weight lies; None without any."""
    total = sum(weight for _, weight in sorted_weights)
    seen = 0
    for value, weight in sorted_weights:
        seen += weight
        if seen >= share * total:
            return value
    return None


def delayed_share(flows: Iterable[Flow], slow_ms: float) -> float | None:
    """The share of the traffic that is slow because it waits in queues; None without traffic.

    That is a round trip over `slow_ms` and several times the least there was.
    """
    return _share((one.traffic if _delayed(one, slow_ms) else 0, one.traffic) for one in flows)


def _delayed(flow: Flow, slow_ms: float) -> bool:
    now, least = flow.connection.round_trip_ms, flow.connection.least_round_trip_ms
    return now > slow_ms and now > _QUEUED * least


def _share(parts: Iterable[tuple[int, int]]) -> float | None:
    pairs = list(parts)
    total = sum(whole for _, whole in pairs)
    return min(1.0, sum(part for part, _ in pairs) / total) if total > 0 else None
