"""Traffic replayed in virtual time through the predictor's own way of joining requests. Pure.

This is `serving.batcher.Batcher` as a discrete-event simulation: the same turns of the loop, the
same order of callbacks, the same predictions and limits. A test drives the real batcher through the
same traffic on a loop in virtual time and finds every run and every answer at the same instant.
What is virtual is the time: of a run, drawn from measured ones; of reading and answering a request,
as measured of the server.

Not modelled: other models of the same worker, requests of unlike shapes, which are not joined, and
what threads of Python cost each other beyond the measured handing over.
"""

from __future__ import annotations

from collections import deque

from benchmarks.batching.replayed import Objective, Replayed, Server
from benchmarks.batching.run_costs import RunCosts
from benchmarks.batching.settings import BatchSetting
from benchmarks.batching.traffic import Traffic
from benchmarks.batching.virtual_server import VirtualServer

# As in serving.batcher, which may not be imported here; a test compares them.
LOOP_BUDGET_S = 0.003
WORTH_JOINING_S = 0.000_025
PROBE_EVERY = 16
STAY_JOINING = 32
SMOOTHING = 0.1

_WARM_ROWS = 8


def replay(
    traffic: Traffic,
    setting: BatchSetting,
    costs: RunCosts,
    server: Server,
    *,
    within: Objective | None = None,
) -> Replayed:
    """Replay traffic; with an objective, stop as soon as it cannot be met any more."""
    return BatcherReplay(traffic, setting, costs, server, within).run()


def known_costs(costs: RunCosts, *, batchable: bool) -> tuple[float, float]:
    """The fixed and the per-row seconds that the predictor finds when it warms a model up."""
    one = costs.curve.seconds_of(1)[0]
    if not batchable:
        return one, 0.0
    joined = costs.curve.seconds_of(_WARM_ROWS)[0]
    per_row = max(0.0, (joined - one) / (_WARM_ROWS - 1))
    return max(one - per_row, 1e-6), per_row


class BatcherReplay(VirtualServer):
    """The batcher: each method below is the one of that name in `serving.batcher`."""

    def __init__(
        self,
        traffic: Traffic,
        setting: BatchSetting,
        costs: RunCosts,
        server: Server,
        within: Objective | None,
    ) -> None:
        super().__init__(traffic, costs, server, within)
        self._fixed, self._per_row = known_costs(costs, batchable=server.batchable)
        self._factor = 1.0
        self._joins = server.batchable and setting.max_batch_size > 1
        self._threads = setting.session.threads
        self._most_rows = setting.max_batch_size
        self._wait_s = setting.max_wait_ms / 1000.0
        self._pending: deque[int] = deque()
        self._pending_rows = 0
        self._scheduled = 0  # the number of the flush that is scheduled; 0 for none
        self._flushes = 0
        self._running = False
        self._given: tuple[list[int], int, float] = ([], 0, 0.0)
        self._crowd = 0
        self._since_probe = 0
        self._watched: set[int] = set()
        self._done: set[int] = set()  # as futures are: by outputs or by the time limit

    def take(self, request: int) -> None:
        """Run it at once or let it wait; see `LoadedModel.through_cache`."""
        rows = self.rows_of[request]
        if self._at_once(rows):
            self._on_loop([request], rows)
            self.answer(request)
        else:
            self._submit(request, rows)

    def _predict(self, rows: int) -> float:
        return self._factor * (self._fixed + self._per_row * rows)

    def _learn(self, rows: int, seconds: float) -> None:
        plain = self._fixed + self._per_row * rows
        ratio = seconds / plain if plain > 0 else 1.0
        if not 0.05 < ratio < 100.0:
            ratio = 0.05 if ratio < 1.0 else 100.0
        self._factor += SMOOTHING * (ratio - self._factor)

    def _at_once(self, rows: int) -> bool:
        if self._pending or self._running:
            return False
        predicted = self._predict(rows)
        if predicted > LOOP_BUDGET_S:
            return False
        if not self._joins:
            return True
        if self._crowd or predicted < WORTH_JOINING_S:
            return not self._crowd
        return self._wait_s == 0.0 and not self._probes()

    def _probes(self) -> bool:
        self._since_probe = (self._since_probe + 1) % PROBE_EVERY
        return self._since_probe == 0

    def _submit(self, request: int, rows: int) -> None:
        if len(self._pending) >= self.server.queue_limit:
            self.refuse(request)
            return
        self._pending.append(request)
        self._pending_rows += rows
        if self._running:
            self._watch(request)
        elif self._pending_rows >= self._most_rows:
            self._flush()
        elif not self._scheduled:
            self._schedule()

    def _watch(self, request: int) -> None:
        """Start the clock of its time limit, unless that runs already."""
        if request not in self._watched:
            self._watched.add(request)
            self.call_at(self.now + self.server.timeout_s, self._expire, request)

    def _schedule(self) -> None:
        self._flushes += 1
        self._scheduled = self._flushes
        if self._wait_s > 0.0:
            self.call_at(self.now + self._wait_s, self._scheduled_flush, self._flushes)
        else:
            self.call_soon(self._scheduled_flush, self._flushes)

    def _scheduled_flush(self, number: int) -> None:
        if number == self._scheduled:  # else it was cancelled
            self._flush()

    def _flush(self) -> None:
        self._scheduled = 0
        if self._running or not self._pending:
            return
        batch, rows = self._first_batch()
        self._crowd = STAY_JOINING if len(batch) > 1 else max(0, self._crowd - 1)
        if self._predict(rows) > LOOP_BUDGET_S:
            self._start(batch, rows)
            return
        self._on_loop(batch, rows)
        self._deliver(batch)
        if self._pending and not self._scheduled:
            self._schedule()

    def _first_batch(self) -> tuple[list[int], int]:
        limit = self._most_rows if self.server.batchable else 1
        rows_of, pending = self.rows_of, self._pending
        batch = [pending.popleft()]
        rows = rows_of[batch[0]]
        while pending and rows + rows_of[pending[0]] <= limit:
            batch.append(pending.popleft())
            rows += rows_of[batch[-1]]
        self._pending_rows -= rows
        return batch, rows

    def _on_loop(self, batch: list[int], rows: int) -> None:
        began = self.now
        self.work(self.cost(rows, len(batch)))
        self._learn(rows, self.now - began)

    def _start(self, batch: list[int], rows: int) -> None:
        self._running = True
        for request in (*batch, *self._pending):
            self._watch(request)
        self.work(self.server.handoff_s)
        ends = self.now + self.cost(rows, len(batch))
        self._given = (batch, rows, ends - self.now)
        self.in_thread(ends - self.now, self._threads, self._finish)

    def _finish(self, _: int) -> None:
        self._running = False
        batch, rows, seconds = self._given
        self._learn(rows, seconds)
        self._deliver(batch)
        if self._pending:
            self._flush()

    def _deliver(self, batch: list[int]) -> None:
        for request in batch:
            if request not in self._done:
                self._done.add(request)
                self.call_soon(self.answer, request)

    def _expire(self, request: int) -> None:
        if request in self._done:
            return
        self._done.add(request)
        if request in self._pending:
            self._pending.remove(request)
            self._pending_rows -= self.rows_of[request]
        self.call_soon(self.refuse, request)
