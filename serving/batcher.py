"""Runs one version's model: at once while traffic is light, in batches when requests meet.

Requests are never made to wait for others unless `max_wait_ms` says so. Instead, whatever arrived
in the same turn of the event loop, or while the batch before was running, is run together:

- A model that is cheap to run stays on the event loop's thread, where a run costs less than
  handing it to another thread.
- A model that would hold up the loop for longer than `_LOOP_BUDGET_S` runs in a worker thread; what
  arrives meanwhile becomes the next batch. Its queue is bounded: more is refused with 503.

A batch that fails is run again row by row, so that only the request at fault gets the error.

Not promised: stopping a run that has begun. Its requests are answered with 504 when their time is
over, and the thread goes on to the end of the run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from config.errors import DeadlineExceeded
from serving.knobs import Knobs
from serving.replies import ModelRunFailed, later
from serving.tensors import Feeds, Tensor

Outputs = Sequence[Tensor]
RunModel = Callable[[Feeds], Outputs]

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
        ratio = min(max(seconds / plain, 0.05), 100.0) if plain > 0 else 1.0
        self.factor += _SMOOTHING * (ratio - self.factor)


class _Job:
    """A request waiting for its outputs."""

    __slots__ = ("feeds", "future", "rows", "timer")

    def __init__(self, feeds: Feeds, rows: int, future: asyncio.Future[Outputs]) -> None:
        self.feeds = feeds
        self.rows = rows
        self.future = future
        self.timer: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class BatchCounts:
    """What a batcher has done since it was made."""

    runs: int = 0
    rows: int = 0
    joined: int = 0
    refused: int = 0
    expired: int = 0


class Batcher:
    """The way to one loaded version; used from one event loop only."""

    __slots__ = (
        "_cost",
        "_crowd",
        "_executor",
        "_knobs",
        "_loop",
        "_pending",
        "_pending_rows",
        "_run",
        "_running",
        "_scheduled",
        "_since_probe",
        "_timeout_s",
        "batchable",
        "counts",
    )

    def __init__(
        self,
        run: RunModel,
        cost: CostModel,
        knobs: Knobs,
        *,
        batchable: bool,
        executor: Executor,
        timeout_s: float,
    ) -> None:
        self._run = run
        self._cost = cost
        self._knobs = knobs
        self.batchable = batchable
        self._executor = executor
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._pending: list[_Job] = []
        self._pending_rows = 0
        self._scheduled: asyncio.Handle | None = None
        self._running = False
        self._crowd = 0
        self._since_probe = 0
        self.counts = BatchCounts()

    @property
    def queued(self) -> int:
        """The number of requests that wait for a run."""
        return len(self._pending)

    def at_once(self, rows: int) -> bool:
        """Tell whether to call `run_now` for this request instead of `submit`."""
        if self._pending or self._running:
            return False
        predicted = self._cost.predict(rows)
        if predicted > _LOOP_BUDGET_S:
            return False
        if not self.batchable or self._knobs.max_batch_size == 1 or predicted < _WORTH_JOINING_S:
            return True
        if self._crowd or self._knobs.max_wait_ms > 0.0:
            return False
        self._since_probe += 1
        if self._since_probe < _PROBE_EVERY:
            return True
        self._since_probe = 0
        return False

    def run_now(self, feeds: Feeds, rows: int) -> Outputs:
        """Run the model on the calling thread.

        Raises:
            ModelRunFailed: the model failed on this input.
        """
        began = time.perf_counter()
        try:
            return self._run(feeds)
        except Exception as error:  # as in `guarded`, which would cost one more call here
            raise _failure(error) from error
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
        job = _Job(feeds, rows, self._loop.create_future())
        self._pending.append(job)
        self._pending_rows += rows
        if self._running:
            job.timer = self._loop.call_later(self._timeout_s, self._expire, job)
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
        batch = self._take()
        rows = sum(job.rows for job in batch)
        self._crowd = _STAY_JOINING if len(batch) > 1 else max(0, self._crowd - 1)
        if self._cost.predict(rows) > _LOOP_BUDGET_S:
            self._start(batch, rows)
            return
        began = time.perf_counter()
        results = _run_batch(self._run, batch)
        self._settle(batch, results, rows, time.perf_counter() - began)
        if self._pending and self._scheduled is None:
            self._schedule()

    def _start(self, batch: list[_Job], rows: int) -> None:
        """Run a batch in a thread; the loop goes on."""
        self._running = True
        for job in (*batch, *self._pending):
            if job.timer is None:
                job.timer = self._loop.call_later(self._timeout_s, self._expire, job)
        self._executor.submit(self._work, batch, rows)

    def _work(self, batch: list[_Job], rows: int) -> None:
        began = time.perf_counter()
        results = _run_batch(self._run, batch)
        seconds = time.perf_counter() - began
        try:
            self._loop.call_soon_threadsafe(self._finish, batch, results, rows, seconds)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    def _finish(
        self, batch: list[_Job], results: list[Outputs | ModelRunFailed], rows: int, seconds: float
    ) -> None:
        self._running = False
        self._settle(batch, results, rows, seconds)
        if self._pending:
            self._flush()

    def _take(self) -> list[_Job]:
        """Take the next batch off the queue: oldest first, alike in shape, up to the limit."""
        limit = self._knobs.max_batch_size if self.batchable else 1
        first = self._pending[0]
        shapes = _trailing_shapes(first.feeds)
        rows, taken = first.rows, 1
        for job in self._pending[1:]:
            if rows + job.rows > limit or _trailing_shapes(job.feeds) != shapes:
                break
            rows += job.rows
            taken += 1
        batch, self._pending = self._pending[:taken], self._pending[taken:]
        self._pending_rows -= rows
        return batch

    def _settle(
        self, batch: list[_Job], results: list[Outputs | ModelRunFailed], rows: int, seconds: float
    ) -> None:
        self._learn(rows, len(batch), seconds)
        for job, result in zip(batch, results, strict=True):
            if job.timer is not None:
                job.timer.cancel()
            if job.future.done():
                continue
            if isinstance(result, ModelRunFailed):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

    def _expire(self, job: _Job) -> None:
        if job.future.done():
            return
        self.counts.expired += 1
        if job in self._pending:
            self._pending.remove(job)
            self._pending_rows -= job.rows
        job.future.set_exception(
            DeadlineExceeded(f"the model did not answer within {self._timeout_s:g} seconds")
        )

    def _learn(self, rows: int, requests: int, seconds: float) -> None:
        counts = self.counts
        counts.runs += 1
        counts.rows += rows
        if requests > 1:
            counts.joined += requests
        self._cost.learn(rows, seconds)


def guarded(run: RunModel, feeds: Feeds) -> Outputs:
    """Run the model; whatever it raises becomes ModelRunFailed with a short text."""
    try:
        return run(feeds)
    except Exception as error:  # a model may fail in any way; each is its own error
        raise _failure(error) from error


def _failure(error: Exception) -> ModelRunFailed:
    text = str(error).strip() or type(error).__name__
    return ModelRunFailed(f"the model failed on this input: {text.splitlines()[0][:300]}")


def _run_batch(run: RunModel, batch: list[_Job]) -> list[Outputs | ModelRunFailed]:
    if len(batch) == 1:
        return [_one(run, batch[0])]
    try:
        outputs = run(_joined(batch))
        return _split(outputs, [job.rows for job in batch])
    except Exception:  # noqa: BLE001 - whatever failed in company is tried alone, below
        return [_one(run, job) for job in batch]


def _one(run: RunModel, job: _Job) -> Outputs | ModelRunFailed:
    try:
        return guarded(run, job.feeds)
    except ModelRunFailed as failure:
        return failure


def _joined(batch: list[_Job]) -> Feeds:
    return {name: np.concatenate([job.feeds[name] for job in batch]) for name in batch[0].feeds}


def _split(outputs: Outputs, rows: list[int]) -> list[Outputs | ModelRunFailed]:
    total = sum(rows)
    if any(len(output) != total for output in outputs):
        raise ValueError("the outputs do not have one row for each row of the inputs")
    results: list[Outputs | ModelRunFailed] = []
    start = 0
    for count in rows:
        results.append([output[start : start + count] for output in outputs])
        start += count
    return results


def _trailing_shapes(feeds: Feeds) -> list[tuple[int, ...]]:
    return [array.shape[1:] for array in feeds.values()]
