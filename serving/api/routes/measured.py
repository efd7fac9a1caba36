"""What was measured, and how it went over time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from serving.api import measured
from serving.api.answers import Page
from serving.api.routes.sharing import After, Limit, Name, OptionalName, Reader, Stores, errors
from serving.api.world_answers import HistoryPage, SeriesAnswer

router = APIRouter(
    prefix="/agent/metrics", tags=["metrics"], responses=dict(errors()), dependencies=[Reader]
)

_YEAR_S = 31_536_000

QueryName = Annotated[Name, Query(min_length=1, max_length=200)]


@router.get("")
def series(
    stores: Stores,
    limit: Limit,
    target: OptionalName = None,
    metric: OptionalName = None,
    after: After = None,
) -> Page[SeriesAnswer]:
    """The recorded series: metrics of targets, with their labels."""
    return measured.series(stores, target, metric, after, limit)


@router.get("/history")
def history(  # noqa: PLR0913 - what may be asked for
    stores: Stores,
    limit: Limit,
    *,
    target: QueryName,
    metric: QueryName,
    since: datetime | None = None,
    until: datetime | None = None,
    step: Annotated[int, Query(ge=0, le=_YEAR_S)] = 0,
    after: After = None,
) -> HistoryPage:
    """A metric's points within a time, by default the last hour; times without zone are UTC."""
    span = measured.Span(_seconds(since), _seconds(until), step)
    return measured.history(stores, target, metric, span, after=after, limit=limit)


def _seconds(at: datetime | None) -> float | None:
    if at is None:
        return None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
