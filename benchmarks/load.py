"""Open-loop load: requests go out when they are due, whether or not earlier ones were answered.

A generator that waits for an answer before it sends the next request slows down with the server:
the requests that would have met the stall are never sent, and the worst latencies are missing from
the result. Gil Tene called this *coordinated omission* ("How NOT to Measure Latency", 2013). Here
it is avoided rather than repaired: arrivals are fixed beforehand, each request is sent at its time,
and its latency counts from the instant it was *meant* to start, so that time lost in this client,
too, is counted and not hidden. How late the client itself was is reported as ``lag``; when that
is a good part of the latency, the client is the bottleneck and the figures are its own.

What cannot be sent because too many requests are under way is counted as overload; what is not
answered by the end is counted as unanswered. Neither is left out silently.

``python -m benchmarks.load --url URL --rate 200 --seconds 10`` is the command.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from benchmarks.arrivals import FloatArray
from benchmarks.histogram import LatencyHistogram
from benchmarks.measures import Reading, latency_measures
from config.errors import InputError

Answer = TypeVar("Answer")

LAG_WARNING_MS = 5.0
OVERLOAD = "overload"
UNANSWERED = "unanswered"


class RequestFailed(Exception):
    """A request was answered with an error, or not at all.

    Attributes:
        kind: a short name that failures are counted under, such as ``http 503`` or ``timeout``.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the generator goes.

    Attributes:
        in_flight: requests under way at once; arrivals beyond are counted as overload.
        drain_s: seconds to wait for answers after the last arrival.
    """

    in_flight: int = 1000
    drain_s: float = 10.0


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What happened to every arrival.

    Attributes:
        offered: arrivals planned.
        answered: requests answered without an error.
        errors: failures by kind, with ``overload`` for those not sent and ``unanswered`` for
            those without an answer at the end.
        late_errors: failures of what was done with answers afterwards, such as feedback.
        seconds: planned length: the time of the last arrival, or the mean gap if longer.
        elapsed_s: until the last answer came.
        latencies_ms: of the answered requests, from their intended start, in order of arrival.
        histogram: the same latencies, counted.
        lag: how late this client sent its requests, counted in ms.
    """

    offered: int
    answered: int
    errors: dict[str, int]
    late_errors: dict[str, int]
    seconds: float
    elapsed_s: float
    latencies_ms: FloatArray = field(repr=False)
    histogram: LatencyHistogram = field(repr=False)
    lag: LatencyHistogram = field(repr=False)

    @property
    def offered_rate(self) -> float:
        """Planned requests per second."""
        return self.offered / self.seconds

    @property
    def achieved_rate(self) -> float:
        """Requests answered without an error, per second until the last answer."""
        return self.answered / max(self.seconds, self.elapsed_s)

    @property
    def client_limited(self) -> bool:
        """True when this client was so late that the figures may be its own."""
        lag = self.lag.percentile(99)
        return lag is not None and lag > LAG_WARNING_MS

    def latency(self) -> tuple[Reading, ...]:
        """Percentiles in ms, with intervals."""
        return latency_measures(self.latencies_ms)

    def to_dict(self) -> dict[str, Any]:
        """JSON form, with the histogram as (upper edge in ms, count)."""
        return {
            "offered": self.offered,
            "answered": self.answered,
            "errors": self.errors,
            "late_errors": self.late_errors,
            "offered_rate_per_second": self.offered_rate,
            "achieved_rate_per_second": self.achieved_rate,
            "seconds": self.seconds,
            "elapsed_seconds": self.elapsed_s,
            "latency": [reading.to_dict() for reading in self.latency()],
            "client_lag_p50_ms": self.lag.percentile(50),
            "client_lag_p99_ms": self.lag.percentile(99),
            "client_limited": self.client_limited,
            "histogram": self.histogram.buckets(),
        }


async def open_loop(
    send: Callable[[int], Awaitable[Answer]],
    arrivals: FloatArray,
    *,
    limits: Limits = Limits(),
    on_answer: Callable[[int, Answer], Awaitable[None]] | None = None,
) -> LoadResult:
    """Send request ``i`` at ``arrivals[i]`` seconds from now and time each answer.

    Args:
        send: sends request ``i`` and returns its answer; raises :class:`RequestFailed` otherwise.
            Any other exception is counted under its type's name.
        arrivals: offsets in seconds, ascending (see :mod:`benchmarks.arrivals`).
        limits: bounds on what may be under way.
        on_answer: called with each answer after its latency was taken, for example to send the
            true label back; it does not count into latency or in-flight.

    Raises:
        InputError: there are no arrivals.
    """
    if arrivals.size == 0:
        raise InputError("there is no arrival to send; raise the rate or the duration")
    run = _OpenLoop(send, arrivals, limits, on_answer)
    return await run.run()


class _OpenLoop(Generic[Answer]):
    """The state of one run."""

    def __init__(
        self,
        send: Callable[[int], Awaitable[Answer]],
        arrivals: FloatArray,
        limits: Limits,
        on_answer: Callable[[int, Answer], Awaitable[None]] | None,
    ) -> None:
        self._send = send
        self._arrivals = arrivals
        self._limits = limits
        self._on_answer = on_answer
        self._latencies = np.full(arrivals.size, np.nan)
        self._errors: Counter[str] = Counter()
        self._late_errors: Counter[str] = Counter()
        self._lag = LatencyHistogram()
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._last = 0.0
        self._now = asyncio.get_running_loop().time
        self._start = self._now()

    async def run(self) -> LoadResult:
        """Send everything, wait for the answers, and add up."""
        try:
            for index, due in enumerate(self._arrivals):
                ahead = self._start + due - self._now()
                # Yields even when late, so that answers are read while a burst goes out.
                await asyncio.sleep(max(ahead, 0.0))
                self._dispatch(index)
            await self._drain()
        finally:
            await self._cancel()
        return self._result()

    def _dispatch(self, index: int) -> None:
        if self._in_flight >= self._limits.in_flight:
            self._errors[OVERLOAD] += 1
            return
        self._in_flight += 1
        task = asyncio.create_task(self._request(index))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _request(self, index: int) -> None:
        intended = self._start + float(self._arrivals[index])
        self._lag.record(max(self._now() - intended, 0.0) * 1e3)
        try:
            answer = await self._send(index)
        except asyncio.CancelledError:
            self._errors[UNANSWERED] += 1
            raise
        except Exception as error:  # noqa: BLE001 - every failure is counted by its kind
            self._errors[_kind(error)] += 1
            return
        finally:
            self._in_flight -= 1
            self._last = self._now() - self._start
        self._latencies[index] = (self._now() - intended) * 1e3
        await self._follow_up(index, answer)

    async def _follow_up(self, index: int, answer: Answer) -> None:
        if self._on_answer is None:
            return
        try:
            await self._on_answer(index, answer)
        except Exception as error:  # noqa: BLE001 - every failure is counted by its kind
            self._late_errors[_kind(error)] += 1

    async def _drain(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._limits.drain_s)

    async def _cancel(self) -> None:
        pending = list(self._tasks)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def _result(self) -> LoadResult:
        latencies = self._latencies[~np.isnan(self._latencies)]
        offered = self._arrivals.size
        return LoadResult(
            offered=offered,
            answered=int(latencies.size),
            errors=dict(self._errors),
            late_errors=dict(self._late_errors),
            seconds=_planned_seconds(self._arrivals),
            elapsed_s=self._last,
            latencies_ms=latencies,
            histogram=LatencyHistogram(latencies),
            lag=self._lag,
        )


def _planned_seconds(arrivals: FloatArray) -> float:
    """The span that many arrivals stand for: n gaps, of which n − 1 were seen."""
    span = float(arrivals[-1] - arrivals[0])
    if arrivals.size == 1 or span == 0:
        return max(float(arrivals[-1]), 1e-9)
    return span * arrivals.size / (arrivals.size - 1)


def _kind(error: Exception) -> str:
    return error.kind if isinstance(error, RequestFailed) else type(error).__name__


def precise_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose timers are good to some 0.1 ms.

    The default one waits in epoll, which counts in whole milliseconds, so that every request would
    leave up to 1 ms late. ``select`` counts in microseconds, for up to 1024 connections.
    """
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    from benchmarks.load_command import main

    sys.exit(main())
