"""The settings of batching that are searched: what is tried, and how it is written as knobs. Pure.

The grid is coarse on purpose: run costs change smoothly, so between two neighbours there is
nothing to win that would not drown in the noise of a live server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from config.errors import InputError

# Whole milliseconds: the predictor's event loop rounds its timers to them.
_WAITS_MS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, slots=True, order=True)
class Session:
    """How ONNX Runtime runs a model: its threads, and whether they spin while they wait for work.

    With one thread there is nobody who could spin.
    """

    threads: int = 1
    spinning: bool = True


@dataclass(frozen=True, slots=True, order=True)
class BatchSetting:
    """One point of the grid."""

    max_batch_size: int
    max_wait_ms: float = 0.0
    session: Session = Session()

    def knob(self) -> dict[str, float]:
        """The value of serving's composite knob `batching`."""
        return {
            "max_batch_size": self.max_batch_size,
            "max_wait_ms": self.max_wait_ms,
            "intra_op_threads": self.session.threads,
            "allow_spinning": int(self.session.spinning),
        }

    def __str__(self) -> str:
        idle = "" if self.session.threads == 1 else ", spinning" * self.session.spinning
        threads = f"{self.session.threads} thread" + "s" * (self.session.threads > 1)
        return f"{self.max_batch_size} rows, {self.max_wait_ms:g} ms, {threads}{idle}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the grid goes: largest batch, longest wait, most threads."""

    max_batch_size: int = 128
    max_wait_ms: float = 50.0
    max_threads: int = 1


def sessions(bounds: Bounds) -> list[Session]:
    """The ways to run a model: powers of two and the most threads, spinning or not."""
    counts = _powers(bounds.max_threads)
    return [Session(1)] + [
        Session(count, spinning) for count in counts if count > 1 for spinning in (True, False)
    ]


def grid(bounds: Bounds, *, batchable: bool = True) -> list[BatchSetting]:
    """Every setting within the bounds; a model whose rows cannot be joined has only its threads.

    Raises:
        InputError: a bound is below what there is at least.
    """
    if bounds.max_batch_size < 1 or bounds.max_wait_ms < 0 or bounds.max_threads < 1:
        raise InputError("batching needs a batch of 1 row or more, a wait from 0 ms, and 1 thread")
    sizes = _powers(bounds.max_batch_size) if batchable else [1]
    waits = [wait for wait in _WAITS_MS if wait <= bounds.max_wait_ms] if batchable else [0]
    return [
        BatchSetting(size, float(wait if size > 1 else 0), session)
        for session in sessions(bounds)
        for size in sizes
        # A batch of one waits for nobody.
        for wait in (waits if size > 1 else waits[:1])
    ]


def _powers(most: int) -> Sequence[int]:
    found = [2**step for step in range(most.bit_length()) if 2**step <= most]
    return found if found[-1] == most else [*found, most]
