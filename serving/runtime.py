"""Puts one worker together from settings: stores, watcher, data path, reporter; and takes it down.

At the end of the start everything made so far is moved out of the garbage collector's sight:
settings, schemas and libraries stay until the end and need not be looked at again and again, which
would stop all requests for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import secrets
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from config.clock import Clock
from config.ids import Ids
from config.settings import Settings
from registry.reader import RegistryReader
from registry.workers import read_note
from serving.app import PredictorApp
from serving.drain import Drain
from serving.feedback import FeedbackDesk
from serving.keeping import Keeping
from serving.ledger import LedgerLink
from serving.loader import Loader
from serving.memory import MemoryFiles, own_bytes
from serving.metrics import MetricsBoard
from serving.recording import Recordings
from serving.release import Release
from serving.reporting import Reporter
from serving.request_ids import RequestIdSigner
from serving.scoring import Scorer
from serving.shadow import Shadow
from serving.state import ServingState, Update
from serving.watcher import Watcher

_log = logging.getLogger("prime_spark.serving")
# Young objects die with their request; a full look at the old ones is rarely worth its pause.
_GC_THRESHOLDS = (50_000, 50, 1000)
_RUN_THREADS = 4
_WEIGH_S = 2.0
# Longest wait of a worker that joins others for its models, before it takes requests.
_JOIN_S = 120.0
_JOIN_LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class _Threads:
    """Threads by what they may wait for, so that one slow thing holds up only its own kind."""

    runs: ThreadPoolExecutor
    loads: ThreadPoolExecutor
    shadow: ThreadPoolExecutor
    feedback: ThreadPoolExecutor
    counts: ThreadPoolExecutor

    def shutdown(self) -> None:
        for pool in (self.runs, self.loads, self.shadow, self.feedback, self.counts):
            pool.shutdown(wait=False, cancel_futures=True)


def _threads() -> _Threads:
    return _Threads(
        ThreadPoolExecutor(_RUN_THREADS, "model-run"),
        ThreadPoolExecutor(1, "model-load"),
        ThreadPoolExecutor(1, "shadow"),
        ThreadPoolExecutor(1, "feedback"),
        ThreadPoolExecutor(1, "counts"),
    )


class Runtime:
    """One worker; `start` it on the event loop that will answer its requests."""

    def __init__(self, settings: Settings, clock: Clock, ids: Ids) -> None:
        self._settings = settings
        self._clock = clock
        self._home = settings.home_dir.create()
        self.worker = ids.new("worker")
        self._threads = _threads()
        self._loader = Loader(self._home.run / "model-load.lock")
        self._recordings = Recordings(
            self._home.traffic,
            self.worker,
            settings.serving.traffic_entries,
            self._threads.counts,
        )
        self.state = ServingState(
            settings.serving,
            self._threads.runs,
            Keeping(self._loader, self._threads.loads),
            self._recordings,
        )
        self._board = MetricsBoard(self._home.run / "serving", self.state, self.worker)
        self._ledger = LedgerLink(settings.ledger_url, clock)
        self._watcher: Watcher | None = None
        self._reporter: Reporter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.app: PredictorApp | None = None

    async def start(self) -> None:
        """Make the data path, and begin to poll and to flush."""
        serving = self._settings.serving
        signer = RequestIdSigner(self._home.request_key())
        reporter = Reporter(self.state, self._ledger, self.worker)
        desk = FeedbackDesk(
            self._ledger,
            signer,
            self._clock,
            serving,
            totals=self.state.totals,
            executor=self._threads.feedback,
        )
        shadow = Shadow(self._threads.shadow, self.state.totals, reporter.shadow)
        noise = random.Random(secrets.randbits(256))
        scorer = Scorer(self.state, signer, shadow, noise)
        self.app = PredictorApp(scorer, desk, serving, self._board.read)
        self._reporter = reporter
        self._watcher = self._new_watcher(asyncio.get_running_loop())
        self._watcher.start()
        self._tasks = [
            asyncio.create_task(
                reporter.run(self._clock, serving.flush_seconds, self._threads.counts)
            ),
            asyncio.create_task(self._post_metrics(serving.flush_seconds)),
            asyncio.create_task(self._weigh()),
        ]
        # What overflows is refused by its value; the warning would only fill the log.
        warnings.filterwarnings("ignore", "overflow encountered in cast", RuntimeWarning)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        await self._join()
        self._board.post()

    async def _join(self) -> None:
        """Beside workers that answer already, take no request before there is a model for it."""
        note = read_note(self._home.run)
        if note is None or note.supervisor != os.getppid() or not note.running:
            return
        by = self._clock.monotonic() + _JOIN_S
        while not self.state.ready and self._clock.monotonic() < by:
            await asyncio.sleep(_JOIN_LOOK_S)

    def drain(self, announce: Callable[[], None]) -> Drain:
        """What takes this worker out of service when it is told to; `announce` is called first."""

        def begin() -> None:
            self.state.draining = True
            self._board.post()
            announce()

        serving = self._settings.serving
        return Drain(serving.drain_seconds, serving.request_timeout_seconds, begin)

    def _new_watcher(self, loop: asyncio.AbstractEventLoop) -> Watcher:
        settings = self._settings
        uri = settings.mlflow.tracking_uri or ""
        reader = RegistryReader(
            uri, self._home.model_cache, timeout_s=settings.mlflow.timeout_seconds
        )

        def publish(update: Update) -> None:
            loop.call_soon_threadsafe(self.state.publish, update)

        return Watcher(
            reader,
            self._ledger,
            settings.serving,
            self._clock,
            publish=publish,
            loader=self._loader,
            release=Release(self._home.model_cache),
            state_file=self._home.run / "serving-last-good.json",
            worker=self.worker,
        )

    async def _post_metrics(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            self._recordings.flush()
            self._board.post()

    async def _weigh(self) -> None:
        """Note what memory this worker takes; reading that holds up whoever asks."""
        loop = asyncio.get_running_loop()
        while True:
            found = await loop.run_in_executor(self._threads.counts, own_bytes, MemoryFiles())
            self.state.memory_bytes = found
            await asyncio.sleep(_WEIGH_S)

    async def stop(self) -> None:
        """Stop polling and write the last counts."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._watcher is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._watcher.stop)
        if self._reporter is not None:
            await self._reporter.flush(self._clock, self._threads.counts)
        self._board.withdraw()
        self._recordings.close()
        self._threads.shutdown()
        self._ledger.close()
        gc.unfreeze()
