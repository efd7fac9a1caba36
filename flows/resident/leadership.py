"""One agent leads; any other stands by and takes over when the leader shows no sign of life.

The lease in the ledger decides. In between, this process believes in its lease only for as long as
the lease lasts by its own monotonic clock, counted from before it asked: it stops believing before
anybody else may take over.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from config.clock import Clock
from config.errors import ConflictError, UnavailableError

if TYPE_CHECKING:
    from registry.agent_leases import LeaseStore
    from registry.agent_records import Lease

LEASE = "agent"

_log = logging.getLogger("prime_spark.agent")


class Leadership:
    """This agent's hold on the leader's lease.

    Args:
        store: the leases of the ledger.
        holder: this agent's id.
        ttl_s: how long the lease lasts without a sign of life.
        clock: monotonic time.
    """

    def __init__(self, store: LeaseStore, holder: str, ttl_s: float, clock: Clock) -> None:
        self.holder = holder
        self._store = store
        self._ttl_s = ttl_s
        self._clock = clock
        self._lease: Lease | None = None
        self._until = 0.0
        self._told = ""
        self._lock = threading.Lock()

    @property
    def held(self) -> bool:
        """Whether this agent leads now."""
        with self._lock:
            return self._lease is not None and self._clock.monotonic() < self._until

    def standby(self) -> str:
        """Why the loops rest; empty while this agent leads."""
        return "" if self.held else "another agent leads; standing by"

    def hold(self) -> bool:
        """Take the lease, or show a sign of life; return whether this agent leads."""
        asked = self._clock.monotonic()
        try:
            lease = self._ask()
        except UnavailableError as error:
            self._tell(f"the ledger cannot be asked who leads: {error}")
            return self.held
        with self._lock:
            self._lease = lease
            self._until = asked + self._ttl_s if lease is not None else 0.0
        self._tell("this agent leads" if lease is not None else "standing by: another agent leads")
        return lease is not None

    def give_up(self) -> None:
        """Let another agent lead at once."""
        with self._lock:
            lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            self._store.release(lease)
        except (ConflictError, UnavailableError) as error:
            _log.info("the leader's lease is left to run out (%s)", error)

    def _ask(self) -> Lease | None:
        with self._lock:
            lease = self._lease
        if lease is not None:
            try:
                return self._store.renew(lease)
            except ConflictError:
                _log.warning("another agent has taken over the lead")
        return self._store.acquire(LEASE, self.holder, self._ttl_s)

    def _tell(self, words: str) -> None:
        if words != self._told:
            self._told = words
            _log.info("%s", words)
