"""Shadow mode: the challenger scores a copy of a request after the champion has answered.

It runs beside the response path, on one thread and with a bounded queue: when the shadow is
slower than the traffic, copies are dropped and counted, and no client notices.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import orjson

from registry.records import ShadowScore
from serving.batches import RunModel, guarded
from serving.feedback import shown
from serving.loaded import LoadedModel
from serving.plans import Arm
from serving.replies import ModelRunFailed
from serving.state import Totals
from serving.tensors import Feeds

_QUEUE = 64


@dataclass(frozen=True, slots=True)
class Copy:
    """A request to be scored again, and what the champion made of it."""

    feeds: Feeds
    rows: int
    nonce: int
    at: float
    champion_predictions: bytes
    champion_latency_ms: float


class Shadow:
    """Scores copies on one thread; used from the event loop."""

    def __init__(
        self, executor: Executor, totals: Totals, report: Callable[[ShadowScore], None]
    ) -> None:
        self._executor = executor
        self._totals = totals
        self._report = report
        self._waiting = 0

    def offer(self, arm: Arm, copy: Copy) -> None:
        """Take a copy, or drop it when too many wait or its model is not in memory."""
        loaded = arm.loaded
        loaded.used_at = time.perf_counter()
        run = loaded.runner
        if run is None or self._waiting >= _QUEUE:
            self._totals.shadow_dropped += 1
            if run is None:
                loaded.batcher.wake()
            return
        self._waiting += 1
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._executor, _score, loaded, run, copy)
        work.add_done_callback(lambda done: self._done(arm, copy, done))

    def _done(self, arm: Arm, copy: Copy, done: asyncio.Future[tuple[bytes | None, float]]) -> None:
        self._waiting -= 1
        if done.cancelled() or done.exception() is not None:
            self._totals.shadow_dropped += 1
            return
        predictions, latency_ms = done.result()
        failed = predictions is None
        arm.tally.add(latency_ms, failed=failed)
        self._totals.shadow_scored += 1
        self._report(
            ShadowScore(
                nonce=copy.nonce.to_bytes(8, "big").hex(),
                model=arm.tally.model,
                version=arm.tally.version,
                experiment_id=arm.tally.experiment_id,
                prediction=_text(predictions or b""),
                champion_prediction=_text(copy.champion_predictions),
                error=failed,
                latency_ms=latency_ms,
                champion_latency_ms=copy.champion_latency_ms,
                at=copy.at,
            )
        )


def _score(loaded: LoadedModel, run: RunModel, copy: Copy) -> tuple[bytes | None, float]:
    """Return predictions (None after a failure) and milliseconds of one run, on this thread."""
    began = time.perf_counter()
    try:
        predictions: bytes | None = loaded.predictions_of(guarded(run, copy.feeds))
    except ModelRunFailed:
        predictions = None
    return predictions, (time.perf_counter() - began) * 1000.0


def _text(predictions: bytes) -> str | None:
    """Return predictions in the form labels are kept in, so that the two can be compared."""
    if not predictions:
        return None
    values = orjson.loads(predictions)
    return shown(values[0] if len(values) == 1 else values)
