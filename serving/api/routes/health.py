"""Whether the API lives and can answer, and its numbers for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response

from serving.api import prometheus, views
from serving.api.answers import Answer
from serving.api.routes.sharing import AtDesk, Reader, Stores, errors

router = APIRouter(tags=["health"])


class Live(Answer):
    """The process answers."""

    live: bool


class Ready(Answer):
    """The API can answer from its ledger; `agent` says whether an agent runs, or is `down`."""

    ready: bool
    agent: str


@router.get("/health/live", responses=dict(errors()))
def live() -> Live:
    """Whether the API process runs. Needs no token."""
    return Live(live=True)


@router.get("/health/ready", responses=dict(errors()))
def ready(stores: Stores) -> Ready:
    """Whether the ledger answers; that the agent is down makes the API no less ready.

    Needs no token.
    """
    return Ready(ready=True, agent="up" if views.is_up(stores) else views.DOWN)


@router.get(
    "/metrics",
    dependencies=[Reader],
    response_class=Response,
    responses={**errors(), 200: {"description": "The page.", "content": {"text/plain": {}}}},
)
def metrics(desk: AtDesk) -> Response:
    """The agent's numbers, for Prometheus."""
    body = prometheus.page(desk.stores, dict(desk.answers), desk.feed.clients)
    return Response(body, headers={"content-type": prometheus.CONTENT_TYPE})
