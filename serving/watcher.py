"""Watches registry and ledger from a thread and keeps the served plans in step with them.

Each poll reads the whole world (aliases, routes, knobs), loads what is missing and warms it up,
and only then hands the event loop a new set of plans: a request never waits for a load. A source
that does not answer keeps its last good values; what was refused keeps the version before it.

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
from typing import TypeVar

from config.clock import Clock
from config.errors import ModelRefused, PrimeSparkError, UnavailableError
from config.settings import ServingSettings
from registry.reader import RegistryReader
from registry.records import (
    CHALLENGER_ALIAS,
    CHAMPION_ALIAS,
    PREVIOUS_ALIAS,
    ModelFile,
    Route,
    RouteMode,
)
from serving import last_good
from serving.last_good import LastGood
from serving.ledger import LedgerLink
from serving.loaded import WarmModel, warm_up
from serving.plans import Wanted, mismatch, wanted
from serving.state import Update, VersionKey

_log = logging.getLogger("prime_spark.serving")
_REFUSED_AGAIN_S = 5.0
# A server that did not answer is left alone this long: waiting for it would delay the others.
_AWAY_S = 3.0
_ALIASES = (CHAMPION_ALIAS, CHALLENGER_ALIAS, PREVIOUS_ALIAS)
T = TypeVar("T")


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
        state_file: Path,
        worker: str,
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        self._publish = publish
        self._state_file = state_file
        self._worker = worker
        known = last_good.load(state_file)
        self._champions: dict[str, int] = dict(known.champions)
        self._good: dict[str, int] = dict(known.champions)
        self._routes: dict[str, Route] = dict(known.routes)
        self._knobs: dict[str, dict[str, float]] = {k: dict(v) for k, v in known.knobs.items()}
        self._files: dict[VersionKey, ModelFile] = dict(known.files)
        self._saved: LastGood | None = None
        self._served: dict[str, Wanted] = {}
        self._refused: dict[VersionKey, tuple[float, str]] = {}
        self._observed: dict[str, dict[str, int]] = {}
        self._away: dict[str, tuple[float, str]] = {}
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
        self._read_registry()
        self._read_ledger()
        problems: dict[str, str] = {}
        warm: dict[VersionKey, WarmModel] = {}
        plans: dict[str, Wanted] = {}
        for model, champion in self._champions.items():
            want = wanted(champion, self._routes.get(model))
            reachable = self._reachable(model, want, warm, problems)
            if reachable is not None:
                plans[model] = reachable
        self._tell(problems)
        stale = {name: text for name, (_, text) in self._away.items()}
        self._served = plans
        self._publish(Update(plans, warm, self._knobs, problems, stale))
        self._keep_files(plans)

    # -- reading ---------------------------------------------------------------------------------

    def _asked(self, source: str, ask: Callable[[], T]) -> T | None:
        """Return what a source says, or None while it is away."""
        now = self._clock.monotonic()
        away = self._away.get(source)
        if away is not None and now < away[0]:
            return None
        try:
            answer = ask()
        except UnavailableError as error:
            if away is None:
                _log.warning("the last good state is kept: %s", error)
            self._away[source] = (self._clock.monotonic() + _AWAY_S, str(error))
            return None
        if away is not None:
            _log.info("%s answers again", source)
            del self._away[source]
        return answer

    def _read_registry(self) -> None:
        aliases = self._asked("registry", self._all_aliases)
        if aliases is None:
            return
        self._champions = {
            model: found[CHAMPION_ALIAS]
            for model, found in aliases.items()
            if CHAMPION_ALIAS in found
        }
        for model, found in aliases.items():
            if self._observed.get(model) != found:
                self._observe(model, found)

    def _all_aliases(self) -> dict[str, dict[str, int]]:
        found = self._reader.all_aliases()
        named = self._settings.models
        return {model: aliases for model, aliases in found.items() if not named or model in named}

    def _observe(self, model: str, found: dict[str, int]) -> None:
        """Let the alias history know what is seen, until it has accounted for it."""
        seen: dict[str, int | None] = {alias: found.get(alias) for alias in _ALIASES}

        def tell() -> bool:
            return self._ledger.stores().history.observe(model, seen, self._worker)

        # A source of its own: trouble with the history must not keep routes from being read.
        if self._asked("alias history", tell):
            self._observed[model] = found

    def _read_ledger(self) -> None:
        routes = self._asked("ledger", self._current_routes)
        if routes is not None:
            self._routes = dict(routes)
        knobs = self._asked("ledger", self._current_knobs)
        if knobs is not None:
            self._knobs = {scope: dict(values) for scope, values in knobs.items()}

    def _current_routes(self) -> dict[str, Route]:
        return self._ledger.stores().routes.current_all()

    def _current_knobs(self) -> dict[str, dict[str, float]]:
        return self._ledger.stores().knobs.read_all()

    # -- loading ---------------------------------------------------------------------------------

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
        if good is None or good == self._champions[model]:
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
            warm[key] = warm_up(file, self._settings.intra_op_threads)
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
        file = self._asked("registry", lambda: self._reader.fetch(*key))
        if file is not None:
            return file
        known = self._files.get(key)
        if known is None:
            raise ModelRefused("the registry does not answer and no copy of it is here")
        return last_good.checked(known)

    # -- afterwards ------------------------------------------------------------------------------

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
        now = LastGood(self._good, dict(self._routes), dict(self._knobs), files)
        if now != self._saved:
            last_good.save(self._state_file, now)
            self._saved = now
