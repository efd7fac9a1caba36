"""Runs one version's model: at once while traffic is light, in batches when requests meet.

Requests are never made to wait for others unless `max_wait_ms` says so. Instead, whatever arrived
in the same turn of the event loop, or while the batch before was running, is run together:

- A model that is cheap to run stays on the event loop's thread, where a run costs less than
  handing it to another thread.
- A model that would hold up the loop for longer than `_LOOP_BUDGET_S` runs in a worker thread; what
  arrives meanwhile becomes the next batch. Its queue is bounded: more is refused with 503.

Not promised: stopping a run that has begun. Its requests are answered with 504 when their time is
over, and the thread goes on to the end of the run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from serving.batches import Job, Outputs, Result, RunModel, deliver, failure, first_batch, run_batch
from serving.knobs import Knobs
from serving.replies import later
from serving.tensors import Feeds
from serving.waiting import Waiting

# Above this predicted time a run is handed to a thread: the loop then goes on reading requests.
_LOOP_BUDGET_S = 0.003
# Below this fixed cost of a run, joining requests costs more than it saves.
_WORTH_JOINING_S = 0.000_025
# While requests come one at a time, every so many-th is held back to the end of the loop's turn
# to see whether others arrived with it.
_PROBE_EVERY = 16
_STAY_JOINING = 32
_SMOOTHING = 0.1


@dataclass(slots=True)
class CostModel:
    """Predicted seconds of a run: a fixed part and a part per row, corrected as runs are timed."""

    fixed_s: float
    per_row_s: float
    factor: float = 1.0

    def predict(self, rows: int) -> float:
        """Return the expected seconds of a run over `rows` rows."""
        return self.factor * (self.fixed_s + self.per_row_s * rows)

    def learn(self, rows: int, seconds: float) -> None:
        """Take one timed run into account; a single outlier moves the estimate by a tenth."""
        plain = self.fixed_s + self.per_row_s * rows
        ratio = seconds / plain if plain > 0 else 1.0
        if not 0.05 < ratio < 100.0:
            ratio = 0.05 if ratio < 1.0 else 100.0
        self.factor += _SMOOTHING * (ratio - self.factor)


@dataclass(slots=True)
class Crowd:
    """Whether requests come together on this worker; shared by the batchers of all its versions.

    Were each version to see only its own requests, a challenger's few would be answered at once and
    out of step with the champion's: what arrives together would then be scattered, and the batches
    of both would shrink.
    """

    left: int = 0


class Batcher(Waiting):
    """The way to one loaded version; used from one event loop only."""

    __slots__ = (
        "_cost",
        "_crowd",
        "_executor",
        "_knobs",
        "_run",
        "_running",
        "_scheduled",
        "_since_probe",
        "batchable",
    )

    def __init__(  # noqa: PLR0913 - the model's run, its knobs, and what it shares with others
        self,
        run: RunModel,
        cost: CostModel,
        knobs: Knobs,
        *,
        batchable: bool,
        executor: Executor,
        timeout_s: float,
        crowd: Crowd | None = None,
    ) -> None:
        super().__init__(timeout_s)
        self._run = run
        self._cost = cost
        self._knobs = knobs
        self.batchable = batchable
        self._executor = executor
        self._scheduled: asyncio.Handle | None = None
        self._running = False
        self._crowd = crowd if crowd is not None else Crowd()
        self._since_probe = 0

    @property
    def resting(self) -> bool:
        """True while no request waits and no run is under way."""
        return not self._pending and not self._running

    def sleep(self, wake: Callable[[], None]) -> None:
        """Let go of the model; a resting batcher only. Each request from now on calls `wake`."""
        self._running = True
        self._run = _gone
        self._wake = wake

    def use(self, run: RunModel, cost: CostModel) -> None:
        """Run this model from now on; a run under way ends with the one it began with."""
        self._run = run
        self._cost = cost
        if self._wake is not None:
            self._wake = None
            self._running = False
            self._flush()

    def at_once(self, rows: int) -> bool:
        """Tell whether to call `run_now` for this request instead of `submit`."""
        if self._pending or self._running:
            return False
        predicted = self._cost.predict(rows)
        if predicted > _LOOP_BUDGET_S:
            return False
        if not self.batchable or self._knobs.max_batch_size == 1:
            return True
        if self._crowd.left or predicted < _WORTH_JOINING_S:
            return not self._crowd.left
        return self._knobs.max_wait_ms == 0.0 and not self._probes()

    def _probes(self) -> bool:
        """Tell whether it is time to look if other requests arrive with this one."""
        self._since_probe = (self._since_probe + 1) % _PROBE_EVERY
        return self._since_probe == 0

    def run_now(self, feeds: Feeds, rows: int) -> Outputs:
        """Run the model on the calling thread.

        Raises:
            ModelRunFailed: the model failed on this input.
        """
        began = time.perf_counter()
        try:
            return self._run(feeds)
        except Exception as error:  # as in `guarded`, which would cost one more call here
            raise failure(error) from error
        finally:
            self._learn(rows, 1, time.perf_counter() - began)

    def submit(self, feeds: Feeds, rows: int) -> asyncio.Future[Outputs]:
        """Return a future of the outputs of a run that may be shared with other requests.

        The future fails with ModelRunFailed or, when its time is over, DeadlineExceeded.

        Raises:
            Refusal: 503, the queue is full.
        """
        if len(self._pending) >= self._knobs.queue_limit:
            self.counts.refused += 1
            raise later(
                f"{len(self._pending)} requests are waiting for this model already; "
                "send less or try again later",
                self._cost.predict(self._pending_rows) + 1.0,
            )
        job = Job(feeds, rows, self._loop.create_future())
        self._pending.append(job)
        self._pending_rows += rows
        if self._running:
            job.timer = self._loop.call_later(self._timeout_s, self._expire, job)
            self.wake()
        elif self._pending_rows >= self._knobs.max_batch_size:
            self._flush()
        elif self._scheduled is None:
            self._schedule()
        return job.future

    def _schedule(self) -> None:
        wait_s = self._knobs.max_wait_ms / 1000.0
        if wait_s > 0.0:
            self._scheduled = self._loop.call_later(wait_s, self._flush)
        else:
            self._scheduled = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        if self._running or not self._pending:
            return
        limit = self._knobs.max_batch_size if self.batchable else 1
        batch, rows = first_batch(self._pending, limit)
        self._pending = self._pending[len(batch) :]
        self._pending_rows -= rows
        crowd = self._crowd
        crowd.left = _STAY_JOINING if len(batch) > 1 else max(0, crowd.left - 1)
        if self._cost.predict(rows) > _LOOP_BUDGET_S:
            self._start(batch, rows)
            return
        began = time.perf_counter()
        results = run_batch(self._run, batch)
        self._learn(rows, len(batch), time.perf_counter() - began)
        deliver(batch, results)
        if self._pending and self._scheduled is None:
            self._schedule()

    def _start(self, batch: list[Job], rows: int) -> None:
        """Run a batch in a thread; the loop goes on."""
        self._running = True
        for job in (*batch, *self._pending):
            if job.timer is None:
                job.timer = self._loop.call_later(self._timeout_s, self._expire, job)
        self._executor.submit(self._work, batch, rows)

    def _work(self, batch: list[Job], rows: int) -> None:
        began = time.perf_counter()
        results = run_batch(self._run, batch)
        seconds = time.perf_counter() - began
        try:
            self._loop.call_soon_threadsafe(self._finish, batch, results, rows, seconds)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    def _finish(self, batch: list[Job], results: list[Result], rows: int, seconds: float) -> None:
        self._running = False
        self._learn(rows, len(batch), seconds)
        deliver(batch, results)
        if self._pending:
            self._flush()

    def _learn(self, rows: int, requests: int, seconds: float) -> None:
        counts = self.counts
        counts.runs += 1
        counts.rows += rows
        if requests > 1:
            counts.joined += requests
        self._cost.learn(rows, seconds)


def _gone(_feeds: Feeds) -> Outputs:
    raise RuntimeError("the model is not in memory")
