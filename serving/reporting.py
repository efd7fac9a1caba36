"""Writes what was counted to the ledger, once each `flush_seconds` and at the end.

The ledger being down costs no request: windows are absolute, so the newest of each minute is kept
and written when the ledger is back. Not promised: counts of the last second after kill -9.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict, deque
from concurrent.futures import Executor

from config.clock import Clock, epoch
from config.errors import PrimeSparkError
from registry.records import ExposureWindow, ShadowScore
from serving.ledger import LedgerLink
from serving.state import ServingState

_log = logging.getLogger("prime_spark.serving")
_MOST_WINDOWS = 10_000
_MOST_SHADOW_SCORES = 10_000

WindowKey = tuple[str, int, str, str | None, float]


def _key(window: ExposureWindow) -> WindowKey:
    return (
        window.model,
        window.version,
        window.variant.value,
        window.experiment_id,
        window.started_at,
    )


class Reporter:
    """Carries one worker's counts to the ledger; lives on the event loop, writes on a thread."""

    def __init__(self, state: ServingState, ledger: LedgerLink, worker: str) -> None:
        self._state = state
        self._ledger = ledger
        self._worker = worker
        self._unsent: OrderedDict[WindowKey, ExposureWindow] = OrderedDict()
        self._scores: deque[ShadowScore] = deque(maxlen=_MOST_SHADOW_SCORES)
        self._failing = False

    def shadow(self, score: ShadowScore) -> None:
        """Take one shadow answer along with the next flush; the oldest goes if there are many."""
        self._scores.append(score)

    async def run(self, clock: Clock, every_s: float, executor: Executor) -> None:
        """Flush until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await self.flush(clock, executor)

    async def flush(self, clock: Clock, executor: Executor) -> None:
        """Write everything counted so far; what cannot be written stays for the next time."""
        now = epoch(clock.now())
        for window in self._state.collect(self._worker, now):
            self._unsent[_key(window)] = window
        while len(self._unsent) > _MOST_WINDOWS:
            self._unsent.popitem(last=False)
            self._state.totals.windows_lost += 1
        loop = asyncio.get_running_loop()
        windows, scores = dict(self._unsent), list(self._scores)
        try:
            if windows:
                await loop.run_in_executor(executor, self._upsert, [*windows.values()])
                self._sent(windows)
            if scores:
                await loop.run_in_executor(executor, self._record, scores)
                self._forget(scores)
            self._tell(None)
        except PrimeSparkError as error:
            self._state.totals.flush_failures += 1
            self._tell(error)

    def _upsert(self, windows: list[ExposureWindow]) -> None:
        self._ledger.stores().exposures.upsert(windows)

    def _record(self, scores: list[ShadowScore]) -> None:
        self._ledger.stores().feedback.record_shadow(scores)

    def _sent(self, windows: dict[WindowKey, ExposureWindow]) -> None:
        for key, window in windows.items():
            if self._unsent.get(key) is window:
                del self._unsent[key]

    def _forget(self, scores: list[ShadowScore]) -> None:
        for score in scores:
            with contextlib.suppress(ValueError):
                self._scores.remove(score)

    def _tell(self, error: PrimeSparkError | None) -> None:
        """Log when writing begins to fail and when it works again, not each second."""
        if error is not None and not self._failing:
            _log.warning("counts are kept here until the ledger takes them again: %s", error)
        if error is None and self._failing:
            _log.info("the ledger takes counts again")
        self._failing = error is not None
