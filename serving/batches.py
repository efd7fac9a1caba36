"""A batch: which waiting requests go together, their common run, and to each its own outputs.

A batch that fails is run again request by request, so that only the one at fault gets the error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np

from serving.replies import ModelRunFailed
from serving.tensors import Feeds, Tensor

Outputs = Sequence[Tensor]
Result = Outputs | ModelRunFailed
RunModel = Callable[[Feeds], Outputs]


class Job:
    """A request waiting for its outputs."""

    __slots__ = ("feeds", "future", "rows", "timer")

    def __init__(self, feeds: Feeds, rows: int, future: asyncio.Future[Outputs]) -> None:
        self.feeds = feeds
        self.rows = rows
        self.future = future
        self.timer: asyncio.TimerHandle | None = None


def first_batch(waiting: list[Job], limit: int) -> tuple[list[Job], int]:
    """Return the next requests to run together, and their rows.

    They are the oldest, as long as they are alike in shape and have at most `limit` rows together;
    the oldest one is always among them.
    """
    first = waiting[0]
    shapes = _trailing_shapes(first.feeds)
    rows, taken = first.rows, 1
    for job in waiting[1:]:
        if rows + job.rows > limit or _trailing_shapes(job.feeds) != shapes:
            break
        rows += job.rows
        taken += 1
    return waiting[:taken], rows


def deliver(batch: list[Job], results: list[Result]) -> None:
    """Give each request its own result, unless its time was over before."""
    for job, result in zip(batch, results, strict=True):
        if job.timer is not None:
            job.timer.cancel()
        if job.future.done():
            continue
        if isinstance(result, ModelRunFailed):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)


def guarded(run: RunModel, feeds: Feeds) -> Outputs:
    """Run the model; whatever it raises becomes ModelRunFailed with a short text."""
    try:
        return run(feeds)
    except Exception as error:  # a model may fail in any way; each is its own error
        raise failure(error) from error


def failure(error: Exception) -> ModelRunFailed:
    """Return what a request is told of an error of the model: its first line, cut short."""
    text = str(error).strip() or type(error).__name__
    return ModelRunFailed(f"the model failed on this input: {text.splitlines()[0][:300]}")


def run_batch(run: RunModel, batch: list[Job]) -> list[Result]:
    """Run the model once for all, or for each alone if that fails; one result for each request."""
    if len(batch) == 1:
        return [_one(run, batch[0])]
    try:
        outputs = run(_joined(batch))
        return _split(outputs, [job.rows for job in batch])
    except Exception:  # noqa: BLE001 - whatever failed in company is tried alone, below
        return [_one(run, job) for job in batch]


def _one(run: RunModel, job: Job) -> Result:
    try:
        return guarded(run, job.feeds)
    except ModelRunFailed as failed:
        return failed


def _joined(batch: list[Job]) -> Feeds:
    return {name: np.concatenate([job.feeds[name] for job in batch]) for name in batch[0].feeds}


def _split(outputs: Outputs, rows: list[int]) -> list[Result]:
    total = sum(rows)
    if any(len(output) != total for output in outputs):
        raise ValueError("the outputs do not have one row for each row of the inputs")
    results: list[Result] = []
    start = 0
    for count in rows:
        results.append([output[start : start + count] for output in outputs])
        start += count
    return results


def _trailing_shapes(feeds: Feeds) -> list[tuple[int, ...]]:
    return [array.shape[1:] for array in feeds.values()]
