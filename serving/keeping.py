"""Keeps in memory what is wanted there, and nothing else.

Idle versions go, those that are asked for come back, sessions are made anew where their options
change, and what is freed is given back to the system.

All decisions are made on the event loop, between requests. Loading and freeing happen on one thread
beside it, so a load finds the memory of what went before.

Not promised: that a version comes back. Where it does not fit, who waits for it gets 503.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from config.errors import PrimeSparkError, UnavailableError
from serving.loaded import LoadedModel, WarmModel
from serving.loader import Loader
from serving.memory import trim_heap
from serving.plans import Plan

_log = logging.getLogger("prime_spark.serving")
_AGAIN_S = 5.0
_SHRINK_PAUSE_S = 0.002


@dataclass(frozen=True, slots=True)
class _Refused:
    until: float
    reason: str


class Keeping:
    """What one worker holds in memory; used on its event loop.

    Args:
        loader: loads models, on the executor.
        executor: one thread.

    Attributes:
        loads: sessions that were made, by this class or for the plans.
        unloads: versions that were put to sleep.
    """

    def __init__(self, loader: Loader, executor: Executor) -> None:
        self._loader = loader
        self._executor = executor
        self._loading: set[LoadedModel] = set()
        self._refused: dict[LoadedModel, _Refused] = {}
        self.loads = 0
        self.unloads = 0

    def follow(self, plans: Iterable[Plan]) -> None:
        """Do what the knobs of the served versions ask for; called once for each poll."""
        now = perf_counter()
        served: set[LoadedModel] = set()
        for plan in plans:
            arms = [arm.loaded for arm in plan.arms]
            last = max(loaded.used_at for loaded in arms)
            for loaded in arms:
                # As long as any version of a model is asked, its champion has to be at hand.
                used_at = last if loaded is plan.champion.loaded else loaded.used_at
                self._keep(loaded, now - used_at)
            served.update(arms)
        self._refused = {one: why for one, why in self._refused.items() if one in served}

    def problems(self) -> dict[str, str]:
        """Why versions are not as they should be, by model."""
        return {loaded.file.model: refused.reason for loaded, refused in self._refused.items()}

    def _keep(self, loaded: LoadedModel, idle_s: float) -> None:
        longest_s = loaded.knobs.idle_unload_seconds
        if loaded.asleep:
            if longest_s == 0 or idle_s < longest_s:
                self._load(loaded)
        elif 0 < longest_s <= idle_s and self._can_go(loaded):
            self._unload(loaded)
        elif loaded.knobs.session != loaded.options:
            self._load(loaded)
        else:
            self._refused.pop(loaded, None)
        self._shrink(loaded, loaded.cache.entries)

    def _can_go(self, loaded: LoadedModel) -> bool:
        return loaded.batcher.resting and loaded not in self._loading

    def _unload(self, loaded: LoadedModel) -> None:
        held = loaded.sleep(partial(self._wake, loaded))
        self.unloads += 1
        self._executor.submit(_free, held)
        _log.info("%s %d is idle and leaves memory", loaded.file.model, loaded.version)

    def _wake(self, loaded: LoadedModel) -> None:
        """Bring a version back because somebody waits for it."""
        loaded.used_at = perf_counter()
        self._load(loaded)

    def _load(self, loaded: LoadedModel) -> None:
        if loaded in self._loading:
            return
        refused = self._refused.get(loaded)
        if refused is not None and perf_counter() < refused.until:
            self._give_up(loaded, refused)
            return
        self._loading.add(loaded)
        loop = asyncio.get_running_loop()
        options = loaded.knobs.session
        work = loop.run_in_executor(self._executor, self._loader.load, loaded.file, options)
        work.add_done_callback(partial(self._loaded, loaded))

    def _loaded(self, loaded: LoadedModel, work: asyncio.Future[WarmModel]) -> None:
        self._loading.discard(loaded)
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        if error is not None:
            self._refuse(loaded, error)
            return
        self.loads += 1
        self._refused.pop(loaded, None)
        self._executor.submit(_free, loaded.use(work.result()))

    def _refuse(self, loaded: LoadedModel, error: BaseException) -> None:
        name = f"{loaded.file.model} {loaded.version}"
        known = isinstance(error, PrimeSparkError)
        why = str(error) if known else f"{name} cannot be loaded; see the predictor's log"
        if not known:
            _log.error("loading %s failed", name, exc_info=error)
        left = "it is not in memory" if loaded.asleep else "it goes on with its session as it is"
        again_s = error.retry_after_s if isinstance(error, UnavailableError) else _AGAIN_S
        refused = _Refused(perf_counter() + again_s, f"{name}: {left}, since {why}")
        if loaded not in self._refused:
            _log.warning("%s", refused.reason)
        self._refused[loaded] = refused
        self._give_up(loaded, refused)

    def _give_up(self, loaded: LoadedModel, refused: _Refused) -> None:
        if loaded.asleep:
            loaded.batcher.give_up(refused.reason, max(1.0, refused.until - perf_counter()))

    def _shrink(self, loaded: LoadedModel, before: int) -> None:
        """Drop what a cache may hold no more, bit by bit, and give back its memory at the end."""
        if loaded.cache.trim():
            loop = asyncio.get_running_loop()
            loop.call_later(_SHRINK_PAUSE_S, self._shrink, loaded, before)
        elif loaded.cache.entries < before:
            self._executor.submit(trim_heap)


def _free(held: list[object]) -> None:
    """Free what a version held; a cache entry by entry, so that others get their turn."""
    while held:
        one = held.pop()
        while isinstance(one, OrderedDict) and one:
            one.popitem()
        del one
    trim_heap()
