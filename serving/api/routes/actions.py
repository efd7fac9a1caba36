"""Actions: what is proposed, running and done, why, and a person's word on it."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Response

from registry.agent_records import ActionState
from serving.api import controls, views
from serving.api.answers import (
    ActionStory,
    ActionSummary,
    ApproveAnswer,
    ApproveQuestion,
    ExplainAnswer,
    FindingAnswer,
    Page,
    RecentAction,
)
from serving.api.routes.sharing import (
    After,
    Approver,
    Limit,
    Name,
    OptionalName,
    Reader,
    Stores,
    errors,
)

router = APIRouter(prefix="/agent", tags=["actions"], responses=dict(errors()))

ActionId = Annotated[Name, Path(min_length=1, max_length=200)]


@router.get("/actions/recent", dependencies=[Reader])
def recent(
    stores: Stores,
    response: Response,
    count: Annotated[int, Query(ge=1, le=10_000)] = 10,
    after: After = None,
) -> list[RecentAction]:
    """The newest actions, the newest first; the header `Link` names the next page."""
    most = min(count, stores.settings.api.max_page)
    found = views.recent_actions(stores, most, after)
    if len(found) == most:
        following = quote(found[-1].action_id, safe="")
        response.headers["link"] = (
            f'</agent/actions/recent?count={most}&after={following}>; rel="next"'
        )
    return found


@router.get("/actions", dependencies=[Reader])
def actions(
    stores: Stores,
    limit: Limit,
    state: Annotated[list[ActionState] | None, Query(max_length=len(ActionState))] = None,
    type: OptionalName = None,  # noqa: A002 - the word of the API
    target: OptionalName = None,
    after: After = None,
) -> Page[ActionSummary]:
    """Actions by state, type and target, the newest first."""
    return views.actions(stores, state or None, type=type, target=target, after=after, limit=limit)


@router.get("/actions/{action_id}", dependencies=[Reader], responses=dict(errors(404)))
def action(stores: Stores, action_id: ActionId) -> ActionStory:
    """Everything known of an action, and all that happened to it."""
    return views.action(stores, action_id)


@router.get("/actions/{action_id}/explain", dependencies=[Reader], responses=dict(errors(404)))
def explain(stores: Stores, action_id: ActionId) -> ExplainAnswer:
    """Why an action was decided as it was, and what would change that."""
    return views.explain(stores, action_id)


@router.post("/action/approve", responses=dict(errors(400, 404, 409, 415)))
def approve(stores: Stores, caller: Approver, question: ApproveQuestion) -> ApproveAnswer:
    """Approve a pending action, or reject it; it takes effect once.

    With `digest`, the word holds for that proposal only.
    """
    return controls.decide(stores, question, by=caller.name, way="api")


@router.get("/proposals", dependencies=[Reader])
def proposals(stores: Stores, limit: Limit, after: After = None) -> Page[ActionSummary]:
    """What is proposed and has not begun."""
    return views.proposals(stores, after, limit)


@router.get("/findings", dependencies=[Reader])
def findings(
    stores: Stores, limit: Limit, after: After = None, *, cleared: bool = False
) -> Page[FindingAnswer]:
    """What was found and still holds; with `cleared`, also what does not any more."""
    return views.findings(stores, after, limit, cleared=cleared)
