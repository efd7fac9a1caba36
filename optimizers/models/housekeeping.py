"""Keeps the ledger small: joins old exposure windows, forgets what nobody may add to any more.

What a test or the watch over a champion still reads stays. Repeating it costs two index look-ups.
"""

from __future__ import annotations

from dataclasses import dataclass

from config.clock import epoch
from config.settings import Settings
from optimizers.models.desk import Desk
from registry.records import RouteMode

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Tidied:
    """What was saved.

    Attributes:
        joined: rows of exposures saved by joining minutes into hours.
        forgotten: single items of feedback.
    """

    joined: int
    forgotten: int


def tidy(desk: Desk, settings: Settings) -> Tidied:
    """Tidy up the ledger; the sums of every experiment stay as they are.

    Raises:
        LedgerUnavailable: try again later.
    """
    now = epoch(desk.clock.now())
    # A day, not an hour: a window that comes after its hour was joined is lost, and a worker keeps
    # its windows while the ledger is away.
    joined = desk.exposures.compact(now - _DAY_S)
    return Tidied(
        joined, desk.feedback.prune(min([_unread_before(now, settings), *_shadows(desk)]))
    )


def _unread_before(now: float, settings: Settings) -> float:
    """Before that, no request id is accepted any more and no watch looks."""
    accepted = (settings.serving.feedback_window_days + 1) * _DAY_S
    return now - max(accepted, settings.models.degraded_window_seconds)


def _shadows(desk: Desk) -> list[float]:
    """Since when running shadows pair single items; a split needs its sums only, and those stay."""
    running = [one for one in desk.experiments.running() if one.mode is RouteMode.SHADOW]
    return [epoch(one.started_at) for one in running]
