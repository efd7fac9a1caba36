"""The ledger as serving sees it: opened when it answers, so a worker starts without it too."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from sqlalchemy import Engine

from config.clock import Clock
from registry.aliases import AliasHistory
from registry.exposures import ExposureStore
from registry.feedback import FeedbackStore
from registry.knobs import KnobStore
from registry.ledger.database import open_ledger
from registry.routing import RouteStore


@dataclass(frozen=True, slots=True)
class Stores:
    """What serving reads from and writes to the ledger."""

    engine: Engine
    routes: RouteStore
    knobs: KnobStore
    history: AliasHistory
    exposures: ExposureStore
    feedback: FeedbackStore


class LedgerLink:
    """Opens the ledger on first use, from whichever thread; blocking, so not for the event loop."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self._lock = threading.Lock()
        self._stores: Stores | None = None

    def stores(self) -> Stores:
        """Return the stores.

        Raises:
            LedgerUnavailable: the ledger does not answer; the next call tries again.
        """
        with self._lock:
            if self._stores is None:
                engine = open_ledger(self._url)
                self._stores = Stores(
                    engine,
                    RouteStore(engine, self._clock),
                    KnobStore(engine, self._clock),
                    AliasHistory(engine, self._clock),
                    ExposureStore(engine),
                    FeedbackStore(engine),
                )
            return self._stores

    def close(self) -> None:
        """Let go of all connections."""
        with self._lock:
            if self._stores is not None:
                self._stores.engine.dispose()
                self._stores = None
