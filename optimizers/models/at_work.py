"""Shows that a process is at work on a version, for exactly as long as it lives.

A lock in the ledger's hands that goes with its process, however that ends: so a benchmark whose
machine lost power is found at once, while its flow run still counts as running at Prefect.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from config.errors import ConflictError, DeadlineExceeded
from optimizers.models.desk import Desk
from registry.ledger.database import exclusive


@contextmanager
def working_on(desk: Desk, model: str, version: int, *, patience_s: float = 2.0) -> Iterator[None]:
    """Be the one process at work on a version.

    Raises:
        ConflictError: another one is, for longer than `patience_s`.
    """
    with _held(desk, model, version, patience_s):
        yield


def is_worked_on(desk: Desk, model: str, version: int) -> bool:
    """True while a process is at work on a version."""
    try:
        with _held(desk, model, version, 0.0):
            return False
    except ConflictError:
        return True


@contextmanager
def _held(desk: Desk, model: str, version: int, patience_s: float) -> Iterator[None]:
    lock = exclusive(desk.engine, f"work on {model} version {version}", patience_s)
    try:
        lock.__enter__()
    except DeadlineExceeded as error:
        raise ConflictError(
            f"another run is at work on version {version} of {model}; wait for its end"
        ) from error
    try:
        yield
    finally:
        lock.__exit__(None, None, None)
