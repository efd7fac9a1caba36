"""A server's event loop in virtual time, to which a policy of joining requests is added. Pure.

It turns as asyncio's does: a turn runs what is ready, in order; what that makes ready comes in the
next turn, after it what has become due meanwhile. Work on the loop moves the time on.
"""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from benchmarks.batching.replayed import NEVER, Objective, Replayed, Server
from benchmarks.batching.run_costs import RunCosts
from benchmarks.batching.traffic import Traffic

# What is due within this is due now, as asyncio has it.
_RESOLUTION = 1e-9

Step = Callable[[int], None]


class VirtualServer(ABC):
    """Requests come, are read, taken by a policy, and answered.

    Args:
        traffic: what comes when.
        costs: draws what runs cost.
        server: what reading and answering costs.
        within: an objective; once it is missed the replay ends.
    """

    def __init__(
        self, traffic: Traffic, costs: RunCosts, server: Server, within: Objective | None
    ) -> None:
        self.now = 0.0
        self.out = Replayed(traffic, [NEVER] * len(traffic.at))
        self.rows_of = traffic.rows
        self.server = server
        self._costs = costs
        self._at = traffic.at
        self._warm_up = traffic.warm_up
        counted = len(traffic.at) - traffic.warm_up
        self._limit_s = within.latency_ms / 1e3 if within else NEVER
        self._misses_left = within.misses(counted) if within else counted
        self._open = len(traffic.at)
        self._next = 0
        self._ready: list[tuple[Step, int]] = []
        self._timers: list[tuple[float, int, Step, int]] = []
        self._timers_made = 0
        self._stolen_s: float | None = None  # None while no run needs all cores
        self._then: Step = self.take

    @abstractmethod
    def take(self, request: int) -> None:
        """Do with a request that was read as the policy says."""

    def run(self) -> Replayed:
        """Go on until every request is answered, refused or given up, or the objective missed."""
        while self._open and self._misses_left >= 0:
            if not self._ready:
                self.now = max(self.now, self._next_due())
            self._collect()
            turn, self._ready = self._ready, []
            for step, subject in turn:
                step(subject)
        self.out.gave_up = self._misses_left < 0
        return self.out

    def call_soon(self, step: Step, subject: int) -> None:
        """Do something in the next turn."""
        self._ready.append((step, subject))

    def call_at(self, when: float, step: Step, subject: int) -> None:
        """Do something at a time."""
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, step, subject))

    def cost(self, rows: int, requests: int) -> float:
        """Begin a run; return the seconds that it takes."""
        out = self.out
        seconds = self._costs.of(len(out.runs), rows)
        out.runs.append((self.now, rows, requests))
        out.cpu_s += self._costs.cpu_of(rows)
        return seconds

    def in_thread(self, seconds: float, threads: int, then: Step) -> None:
        """Let a run begin in a thread; one at a time. The loop goes on beside it."""
        if threads >= self.server.cores:
            self._stolen_s = 0.0
        self.call_at(self.now + seconds, self._landed, 0)
        self._then = then

    def _landed(self, _: int) -> None:
        if self._stolen_s:
            self.call_at(self.now + self._stolen_s, self._landed, 0)
            self._stolen_s = 0.0
            return
        self._stolen_s = None
        self._then(0)

    def work(self, seconds: float) -> None:
        """Let the loop work; a run that needs all cores stands still meanwhile."""
        self.now += seconds
        if self._stolen_s is not None:
            self._stolen_s += seconds

    def answer(self, request: int) -> None:
        """Send a request its outputs."""
        self.work(self.server.answer_s)
        self._settle(request, self.now)

    def refuse(self, request: int) -> None:
        """Tell a request that it failed."""
        self.work(self.server.answer_s)
        self._settle(request, NEVER)

    def _settle(self, request: int, at: float) -> None:
        self.out.answered[request] = at
        self._open -= 1
        if request >= self._warm_up and at - self._at[request] > self._limit_s:
            self._misses_left -= 1

    def _next_due(self) -> float:
        arrival = self._at[self._next] if self._next < len(self._at) else NEVER
        timer = self._timers[0][0] if self._timers else NEVER
        return min(arrival, timer)

    def _collect(self) -> None:
        """Make ready what is due, in the order of its times."""
        # Late times are coarser than that: what is due has to be taken nevertheless.
        horizon = max(self.now + _RESOLUTION, math.nextafter(self.now, NEVER))
        timers, ready = self._timers, self._ready
        while timers and timers[0][0] < horizon:
            when, _, step, subject = heapq.heappop(timers)
            self._arrivals_before(when)
            ready.append((step, subject))
        self._arrivals_before(horizon)

    def _arrivals_before(self, when: float) -> None:
        at, place = self._at, self._next
        while place < len(at) and at[place] < when:
            self._ready.append((self._read, place))
            place += 1
        self._next = place

    def _read(self, request: int) -> None:
        self.work(self.server.read_s)
        self.out.cpu_s += self.server.read_s + self.server.answer_s
        self.take(request)
