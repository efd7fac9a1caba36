"""Watches registry and ledger from a thread and keeps the served plans in step with them.

Each poll reads the whole world (aliases, routes, knobs), loads what is missing and warms it up,
and only then hands the event loop a new set of plans: a request never waits for a load. What was
refused keeps the version before it.

Not promised: that all workers switch in the same instant; each polls for itself, so for up to
`poll_seconds` two workers may serve different champions.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from config.clock import Clock
from config.errors import ModelRefused, PrimeSparkError
from config.settings import ServingSettings
from registry.knobs import ROOT
from registry.reader import RegistryReader
from registry.records import ModelFile, RouteMode
from serving import last_good
from serving.knobs import session_for
from serving.last_good import LastGood
from serving.ledger import LedgerLink
from serving.loaded import WarmModel
from serving.loader import Loader
from serving.plans import Wanted, mismatch, wanted
from serving.release import Release
from serving.state import Update, VersionKey
from serving.world import World

_log = logging.getLogger("prime_spark.serving")
_REFUSED_AGAIN_S = 5.0


class Watcher:
    """Polls on its own thread; `poll` is one round and may be called by itself."""

    def __init__(  # noqa: PLR0913 - these are its collaborators
        self,
        reader: RegistryReader,
        ledger: LedgerLink,
        settings: ServingSettings,
        clock: Clock,
        *,
        publish: Callable[[Update], None],
        loader: Loader,
        release: Release,
        state_file: Path,
        worker: str,
    ) -> None:
        self._settings = settings
        self._loader = loader
        self._release = release
        self._clock = clock
        self._publish = publish
        self._state_file = state_file
        known = last_good.load(state_file)
        self._world = World(
            reader, ledger, clock, known=known, models=settings.models, worker=worker
        )
        self._good: dict[str, int] = dict(known.champions)
        self._files: dict[VersionKey, ModelFile] = dict(known.files)
        self._saved: LastGood | None = None
        self._served: dict[str, Wanted] = {}
        self._refused: dict[VersionKey, tuple[float, str]] = {}
        self._told: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to poll."""
        self._thread = threading.Thread(target=self._run, name="serving-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling; returns when the round under way is over, or after a few seconds."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        parent = os.getppid()
        while not self._stop.is_set():
            try:
                self.poll()
            except Exception:  # noqa: BLE001 - the loop's border; the next round starts afresh
                _log.exception("a round of the watcher failed; the last good plans stay")
            self._stop.wait(self._settings.poll_seconds)
            if os.getppid() != parent:
                _log.warning("the supervising process is gone; this worker stops")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def poll(self) -> None:
        """Read the world once and publish what follows from it."""
        world = self._world
        world.read()
        problems: dict[str, str] = {}
        warm: dict[VersionKey, WarmModel] = {}
        plans: dict[str, Wanted] = {}
        for model, champion in world.champions.items():
            want = wanted(champion, world.routes.get(model))
            reachable = self._reachable(model, want, warm, problems)
            if reachable is not None:
                plans[model] = reachable
        self._tell(problems)
        self._served = plans
        self._publish(Update(plans, warm, world.knobs, problems, world.stale))
        self._keep_files(plans)
        counter = world.knobs.get(ROOT, {}).get("release_memory", 0.0)
        self._release.follow(counter, [file.path for file in self._files.values()])

    def _reachable(
        self,
        model: str,
        want: Wanted,
        warm: dict[VersionKey, WarmModel],
        problems: dict[str, str],
    ) -> Wanted | None:
        """Return what can be served of what is wanted, with everything it needs loaded."""
        served = self._served.get(model)
        if served == want:
            return want
        champion = self._load(model, want.champion, warm, problems)
        if champion is None:
            return served or self._fallback(model, warm, problems)
        if want.challenger is None or want.mode is RouteMode.NONE:
            return want
        challenger = self._load(model, want.challenger, warm, problems)
        if challenger is None:
            return Wanted(want.champion)
        difference = mismatch(champion.schema, challenger.schema)
        if difference is not None:
            key = (model, want.challenger)
            warm.pop(key, None)
            problems[model] = f"{model} {want.challenger} gets no traffic: {difference}"
            return Wanted(want.champion)
        return want

    def _fallback(
        self, model: str, warm: dict[VersionKey, WarmModel], problems: dict[str, str]
    ) -> Wanted | None:
        """Return the champion from before the restart, when the wanted one cannot be loaded."""
        good = self._good.get(model)
        if good is None or good == self._world.champions[model]:
            return None
        found = self._load(model, good, warm, dict(problems))
        return None if found is None else Wanted(good)

    def _load(
        self,
        model: str,
        version: int,
        warm: dict[VersionKey, WarmModel],
        problems: dict[str, str],
    ) -> ModelFile | None:
        key = (model, version)
        if self._is_served(key):
            return self._files[key]
        until, reason = self._refused.get(key, (0.0, ""))
        if self._clock.monotonic() < until:
            problems[model] = reason
            return None
        try:
            file = self._fetch(key)
            options = session_for(self._settings, model, version, self._world.knobs)
            warm[key] = self._loader.load(file, options)
        except PrimeSparkError as error:
            problems[model] = f"{model} {version} is not served: {error}"
            self._refused[key] = (self._clock.monotonic() + _REFUSED_AGAIN_S, problems[model])
            return None
        self._refused.pop(key, None)
        self._files[key] = file
        return file

    def _is_served(self, key: VersionKey) -> bool:
        plan = self._served.get(key[0])
        return plan is not None and key[1] in (plan.champion, plan.challenger)

    def _fetch(self, key: VersionKey) -> ModelFile:
        """Fetch a version; while the registry is away, from what was fetched before."""
        file = self._world.fetch(key)
        if file is not None:
            return file
        known = self._files.get(key)
        if known is None:
            raise ModelRefused("the registry does not answer and no copy of it is here")
        return last_good.checked(known)

    def _tell(self, problems: Mapping[str, str]) -> None:
        for model, problem in problems.items():
            if self._told.get(model) != problem:
                _log.warning("%s", problem)
        self._told = dict(problems)

    def _keep_files(self, plans: Mapping[str, Wanted]) -> None:
        """Note what is served now, so that a restart without the registry can go on with it."""
        files = {
            (model, version): self._files[model, version]
            for model, want in plans.items()
            for version in (want.champion, want.challenger)
            if version is not None
        }
        self._files = files
        # A champion that is wanted but refused is not what a restart should begin with.
        self._good = {model: want.champion for model, want in plans.items()}
        now = LastGood(self._good, dict(self._world.routes), dict(self._world.knobs), files)
        if now != self._saved:
            last_good.save(self._state_file, now)
            self._saved = now
