"""Holding a test's lease: one controller at a time, and none that is dead for long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import Engine, select

from config.clock import epoch
from config.errors import ConflictError, LedgerUnavailable
from optimizers.models.desk import Desk
from registry.ledger.database import reading
from registry.ledger.schema import experiments
from registry.records import TrialLease

_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class LeaseView:
    """The lease of a test as it stands; `expires_at` is in seconds since the epoch."""

    holder: str | None
    token: int
    expires_at: float

    def alive(self, now: float, lease_s: float) -> bool:
        """True while nobody else may take the test over.

        A lease that runs longer than any lease can was written before the wall clock was set
        back; it would never end, so it does not count.
        """
        return self.holder is not None and now < self.expires_at <= now + 2 * lease_s


def read_lease(engine: Engine, test_id: str) -> LeaseView | None:
    """The lease of a test; None when there is no such test."""
    columns = (
        experiments.c.lease_holder,
        experiments.c.lease_token,
        experiments.c.lease_expires_at,
    )
    with reading(engine) as connection:
        row = connection.execute(select(*columns).where(experiments.c.id == test_id)).one_or_none()
    if row is None:
        return None
    return LeaseView(row.lease_holder, row.lease_token, row.lease_expires_at or 0.0)


@contextmanager
def holding(desk: Desk, test_id: str, holder: str) -> Iterator[TrialLease]:
    """Hold a test's lease; give it back at the end, so that a successor need not wait.

    Of a holder that may be dead, its remaining time is waited out.

    Raises:
        ConflictError: another holder is alive, or the test is over.
    """
    lease = _claim(desk, test_id, holder)
    desk.checkpoint("claimed")
    try:
        yield lease
    finally:
        with suppress(LedgerUnavailable):
            desk.experiments.release(lease)


@contextmanager
def kept_alive(desk: Desk, lease: TrialLease) -> Iterator[None]:
    """Renew a lease from a second thread while one long step runs, for `desk.patience_s` at most.

    A step that hangs longer loses the lease as a dead holder does.
    """
    done = threading.Event()
    deadline = desk.clock.monotonic() + desk.patience_s

    def renew() -> None:
        while not done.wait(desk.lease_s / 3) and desk.clock.monotonic() < deadline:
            with suppress(LedgerUnavailable, ConflictError):
                desk.experiments.renew(lease)

    thread = threading.Thread(target=renew, name=f"lease of {lease.id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _claim(desk: Desk, test_id: str, holder: str) -> TrialLease:
    deadline = desk.clock.monotonic() + desk.lease_s + 1.0
    while True:
        try:
            name = _name_to_claim_under(desk, test_id, holder)
            return desk.experiments.claim(test_id, name, desk.lease_s)
        except ConflictError:
            if desk.clock.monotonic() >= deadline:
                raise
            desk.wait(_POLL_S)


def _name_to_claim_under(desk: Desk, test_id: str, holder: str) -> str:
    """Our name, or the holder's whose lease would never end because the clock was set back.

    Taking it over under its own name is safe: the token, not the clock, decides who may write.
    """
    now = epoch(desk.clock.now())
    lease = read_lease(desk.engine, test_id)
    if lease is None or lease.holder is None or lease.expires_at <= now:
        return holder
    return holder if lease.alive(now, desk.lease_s) else lease.holder
