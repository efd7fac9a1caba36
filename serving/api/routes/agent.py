"""The agent itself: status, goals, pause and resume, and what happens as it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from serving.api import controls, views
from serving.api.answers import (
    AgentAnswer,
    GoalAnswer,
    GoalsQuestion,
    PauseAnswer,
    PauseQuestion,
    Status,
)
from serving.api.feed import Feed, as_event
from serving.api.routes.sharing import (
    MAX_ENTRY,
    Admin,
    Approver,
    AtDesk,
    Reader,
    Stores,
    errors,
)
from serving.api.world_answers import CycleAnswer

_NO_REASON = PauseQuestion()

router = APIRouter(prefix="/agent", tags=["agent"], responses=dict(errors()))


@router.get("/status", dependencies=[Reader])
def status(stores: Stores) -> Status:
    """The agent at a glance."""
    return views.status(stores)


@router.get("", dependencies=[Reader])
def agent(stores: Stores) -> AgentAnswer:
    """Whether the agent lives, whether it is held, and what its loops do."""
    return views.agent(stores)


@router.get("/goals", dependencies=[Reader])
def goals(stores: Stores) -> list[GoalAnswer]:
    """The goals that hold now, and how far each is reached."""
    return views.goals(stores)


@router.put("/goals")
def set_goals(stores: Stores, caller: Admin, question: GoalsQuestion) -> list[GoalAnswer]:
    """Replace the goals; they hold until they are set again."""
    return controls.set_goals(stores, question.goals, by=caller.name)


@router.get("/cycle", dependencies=[Reader])
def cycle(stores: Stores) -> CycleAnswer:
    """How the last cycle of decisions went: why something is done, or nothing."""
    return views.cycle(stores)


@router.get("/pause", dependencies=[Reader])
def paused(stores: Stores) -> PauseAnswer:
    """Whether the agent is held, by whom and why."""
    return views.paused(stores)


@router.post("/pause")
def pause(stores: Stores, caller: Approver, question: PauseQuestion = _NO_REASON) -> PauseAnswer:
    """Stop new effects within a second; what is in flight is brought to a safe state."""
    return controls.pause(stores, by=caller.name, reason=question.reason)


@router.post("/resume")
def resume(stores: Stores, caller: Admin) -> PauseAnswer:
    """Let the agent act again."""
    return controls.resume(stores, by=caller.name)


@router.get(
    "/events",
    dependencies=[Reader],
    response_class=StreamingResponse,
    responses={200: {"description": "The stream.", "content": {"text/event-stream": {}}}},
)
async def events(
    desk: AtDesk,
    after: Annotated[int | None, Query(ge=0, le=MAX_ENTRY)] = None,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> StreamingResponse:
    """Everything that happens, as server-sent events.

    Begins with the entry after `after` or after the header `Last-Event-ID`; with neither, with what
    happens from now on.
    """
    start = after if after is not None else _number(last_event_id)
    desk.feed.enter()
    return StreamingResponse(
        _stream(desk.feed, start),
        media_type="text/event-stream",
        headers={"x-accel-buffering": "no"},
    )


async def _stream(feed: Feed, after: int | None) -> AsyncIterator[bytes]:
    try:
        start = await feed.newest() if after is None else after
        yield f": from {start}\n\n".encode()
        async for entry in feed.entries(start):
            yield as_event(entry) if entry is not None else b": nothing new\n\n"
    finally:
        feed.leave()


def _number(text: str | None) -> int | None:
    known = text is not None and text.isascii() and text.isdigit() and int(text) <= MAX_ENTRY
    return int(text) if known and text is not None else None
