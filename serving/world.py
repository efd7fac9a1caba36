"""What a worker knows of the world: champions, routes and knobs, as they were last read.

A source that does not answer keeps its last good values, those from before a restart included, and
is left alone for a while. What is seen of the aliases is told to the alias history.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import TypeVar

from config.clock import Clock
from config.errors import UnavailableError
from registry.reader import RegistryReader
from registry.records import (
    CHALLENGER_ALIAS,
    CHAMPION_ALIAS,
    PREVIOUS_ALIAS,
    ModelFile,
    Route,
)
from serving.knobs import usable
from serving.last_good import LastGood
from serving.ledger import LedgerLink
from serving.state import VersionKey

_log = logging.getLogger("prime_spark.serving")
# A server that did not answer is left alone this long: waiting for it would delay the others.
_AWAY_S = 3.0
_ALIASES = (CHAMPION_ALIAS, CHALLENGER_ALIAS, PREVIOUS_ALIAS)
T = TypeVar("T")


class World:
    """Registry and ledger as one thread reads them; values are replaced whole, never changed.

    `models` names the models to look at; when empty, it is all of them. `worker` is who the alias
    history is told has seen the aliases.
    """

    def __init__(
        self,
        reader: RegistryReader,
        ledger: LedgerLink,
        clock: Clock,
        *,
        known: LastGood,
        models: Collection[str],
        worker: str,
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._clock = clock
        self._models = models
        self._worker = worker
        self._observed: dict[str, dict[str, int]] = {}
        self._away: dict[str, tuple[float, str]] = {}
        self.champions: dict[str, int] = dict(known.champions)
        self.routes: dict[str, Route] = dict(known.routes)
        self.knobs = usable(known.knobs)

    @property
    def stale(self) -> dict[str, str]:
        """The sources that are away now, and why."""
        return {name: text for name, (_, text) in self._away.items()}

    def read(self) -> None:
        """Ask every source once; those that are away keep what they said last."""
        self._read_registry()
        self._read_ledger()

    def fetch(self, key: VersionKey) -> ModelFile | None:
        """Return a version's file from the registry, or None while that is away.

        Raises:
            ModelRefused: the registry answers, but the version cannot be trusted or used.
            UnknownVersion: the registry answers, and has no such version.
        """
        return self._asked("registry", lambda: self._reader.fetch(*key))

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
        self.champions = {
            model: found[CHAMPION_ALIAS]
            for model, found in aliases.items()
            if CHAMPION_ALIAS in found
        }
        for model, found in aliases.items():
            if self._observed.get(model) != found:
                self._observe(model, found)

    def _all_aliases(self) -> dict[str, dict[str, int]]:
        found = self._reader.all_aliases()
        named = self._models
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
            self.routes = dict(routes)
        knobs = self._asked("ledger", self._current_knobs)
        if knobs is not None:
            self.knobs = usable(knobs)

    def _current_routes(self) -> dict[str, Route]:
        return self._ledger.stores().routes.current_all()

    def _current_knobs(self) -> dict[str, dict[str, float]]:
        return self._ledger.stores().knobs.read_all()
