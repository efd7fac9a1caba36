"""A rival: the batch size by additive increase and multiplicative decrease, as Clipper does it.

While batches are within the latency objective the largest batch grows by one, and when one is not
it shrinks by a tenth (Crankshaw et al., Clipper, NSDI 2017, section 4.3). It turns the same knob of
the same batcher: what differs is how the value is found.

Clipper watches the time a batch takes to run. A request also waits for the batch before its own, so
there is a second form here that watches from the arrival of a batch's oldest request.
"""

from __future__ import annotations

from enum import StrEnum

from benchmarks.batching.replay import BatcherReplay
from benchmarks.batching.replayed import Objective, Replayed, Server
from benchmarks.batching.run_costs import RunCosts
from benchmarks.batching.settings import BatchSetting
from benchmarks.batching.traffic import Traffic

_INCREASE = 1.0
_DECREASE = 0.9


class Watched(StrEnum):
    """Which latency the controller holds against the objective."""

    RUN = "run"
    OLDEST = "oldest request"


def aimd(
    traffic: Traffic,
    most: BatchSetting,
    costs: RunCosts,
    server: Server,
    *,
    within: Objective,
    watched: Watched,
) -> Replayed:
    """Replay traffic through the controller, which goes up to a setting's batch size at most."""
    return _Aimd(traffic, most, costs, server, within, watched).run()


class _Aimd(BatcherReplay):
    def __init__(
        self,
        traffic: Traffic,
        most: BatchSetting,
        costs: RunCosts,
        server: Server,
        within: Objective,
        watched: Watched,
    ) -> None:
        super().__init__(traffic, most, costs, server, within)
        self._objective_s = within.latency_ms / 1e3
        self._looks_at = watched
        self._most = most.max_batch_size
        self._limit = 1.0
        self._oldest = 0.0
        self._most_rows = 1

    def _on_loop(self, batch: list[int], rows: int) -> None:
        self._oldest = self.out.traffic.at[batch[0]]
        super()._on_loop(batch, rows)

    def _start(self, batch: list[int], rows: int) -> None:
        self._oldest = self.out.traffic.at[batch[0]]
        super()._start(batch, rows)

    def _learn(self, rows: int, seconds: float) -> None:
        super()._learn(rows, seconds)
        late = seconds if self._looks_at is Watched.RUN else self.now - self._oldest
        if late > self._objective_s:
            self._limit = max(1.0, self._limit * _DECREASE)
        else:
            self._limit = min(self._limit + _INCREASE, self._most)
        self._most_rows = int(self._limit)
