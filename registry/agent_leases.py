"""Leases by name: the right to be the one who acts, for a time, with a token that grows.

The leader lease makes one of several agents act. Its time tells a standby when to step in; the
token is what shuts the one before out.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, Engine, RowMapping, insert, select, update

from config.clock import Clock, epoch
from config.errors import StaleToken
from registry.agent_records import Lease
from registry.ledger.agent_schema import leases
from registry.ledger.database import lock, reading, writing
from registry.ledger.events import EventLog


class LeaseStore:
    """The leases of one ledger."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._events = EventLog(engine, clock)

    def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """Take a lease for `ttl_s` seconds; None while another holder has it.

        A holder that acquires again gets a new token too.
        """
        now = epoch(self._clock.now())
        with writing(self._engine) as connection:
            lock(connection, f"lease {name}")
            known = _find(connection, name)
            if known is not None and known["holder"] != holder and _alive(known, now, ttl_s):
                return None
            token = known["token"] + 1 if known is not None else 1
            lease = Lease(name, holder, token, now + ttl_s, ttl_s)
            row = {"holder": holder, "token": token, "expires_at": lease.expires_at}
            if known is None:
                connection.execute(insert(leases), row | {"name": name})
            else:
                connection.execute(update(leases).where(leases.c.name == name).values(**row))
            self._events.append(connection, "lease", name, {"holder": holder, "token": token})
        return lease

    def renew(self, lease: Lease) -> Lease:
        """Hold on to a lease for its time from now on.

        Raises:
            StaleToken: somebody else has it now.
        """
        renewed = replace(lease, expires_at=epoch(self._clock.now()) + lease.ttl_s)
        with writing(self._engine) as connection:
            here = (leases.c.name == lease.name) & (leases.c.token == lease.token)
            values = {"expires_at": renewed.expires_at}
            if not connection.execute(update(leases).where(here).values(**values)).rowcount:
                raise StaleToken(
                    f"the lease “{lease.name}” was taken by another holder; acquire it again"
                )
        return renewed

    def release(self, lease: Lease) -> None:
        """Give a lease back, so that the next holder need not wait; a stale one is ignored."""
        with writing(self._engine) as connection:
            here = (leases.c.name == lease.name) & (leases.c.token == lease.token)
            connection.execute(update(leases).where(here).values(expires_at=0.0))

    def current(self, name: str) -> Lease | None:
        """The lease as it stands, alive or not; None when it was never taken."""
        with reading(self._engine) as connection:
            row = _find(connection, name)
        if row is None:
            return None
        return Lease(row["name"], row["holder"], row["token"], row["expires_at"])


def _find(connection: Connection, name: str) -> RowMapping | None:
    query = select(leases).where(leases.c.name == name)
    return connection.execute(query).mappings().one_or_none()


def _alive(row: RowMapping, now: float, ttl_s: float) -> bool:
    # A lease that runs longer than any can was written before the wall clock was set back.
    return bool(now < row["expires_at"] <= now + 2 * ttl_s)
