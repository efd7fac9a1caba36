"""Requests that wait for one version's model: counted, limited in time, and told when it is no use.

While the model is not in memory they wait for it too. The first asks for it, and who has waited too
long, or in vain, gets 503 and may come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from config.errors import DeadlineExceeded
from serving.batches import Job
from serving.replies import later


@dataclass(slots=True)
class BatchCounts:
    """What a batcher has done since it was made."""

    runs: int = 0
    rows: int = 0
    joined: int = 0
    refused: int = 0
    expired: int = 0


class Waiting:
    """The queue of a batcher; used from one event loop only."""

    __slots__ = ("_loop", "_pending", "_pending_rows", "_timeout_s", "_wake", "counts")

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._pending: list[Job] = []
        self._pending_rows = 0
        self._wake: Callable[[], None] | None = None
        self.counts = BatchCounts()

    @property
    def queued(self) -> int:
        """The number of requests that wait for a run."""
        return len(self._pending)

    def wake(self) -> None:
        """Ask for the model as a request does."""
        if self._wake is not None:
            self._wake()

    def give_up(self, reason: str, retry_after_s: float) -> None:
        """Answer all who wait with 503: the model does not come now."""
        waiting, self._pending, self._pending_rows = self._pending, [], 0
        for job in waiting:
            if job.timer is not None:
                job.timer.cancel()
            if not job.future.done():
                self.counts.refused += 1
                job.future.set_exception(later(reason, retry_after_s))

    def _expire(self, job: Job) -> None:
        if job.future.done():
            return
        self.counts.expired += 1
        if job in self._pending:
            self._pending.remove(job)
            self._pending_rows -= job.rows
        if self._wake is not None:
            took = f"the model was not back in memory within {self._timeout_s:g} seconds"
            job.future.set_exception(later(f"{took}; try again later", 1.0))
            return
        job.future.set_exception(
            DeadlineExceeded(f"the model did not answer within {self._timeout_s:g} seconds")
        )
