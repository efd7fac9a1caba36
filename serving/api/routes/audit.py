"""The ledger's entries, the proof that none was altered, and the tokens that may come in."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse, StreamingResponse

from config.clock import from_epoch
from serving.api import views, world_views
from serving.api.answers import (
    EventAnswer,
    NewTokenAnswer,
    Page,
    TokenAnswer,
    TokenQuestion,
)
from serving.api.pages import page_of
from serving.api.problems import Refused
from serving.api.routes.sharing import (
    Admin,
    Administrator,
    After,
    AtDesk,
    EntryAfter,
    Limit,
    Name,
    OptionalName,
    Reader,
    Stores,
    errors,
)
from serving.api.tokens import Scope, Token
from serving.api.views import NotFound
from serving.api.world_answers import AuditAnswer

router = APIRouter(prefix="/agent", tags=["audit"], responses=dict(errors()))

TokenName = Annotated[Name, Path(min_length=1, max_length=64)]


@router.get("/audit", dependencies=[Reader])
def entries(
    stores: Stores,
    limit: Limit,
    kind: OptionalName = None,
    subject: OptionalName = None,
    after: EntryAfter = 0,
) -> Page[EventAnswer]:
    """The ledger's entries, the oldest first."""
    return views.events(stores, kind=kind, subject=subject, after=after, limit=limit)


@router.get("/audit/verify", dependencies=[Reader])
def verify(desk: AtDesk) -> AuditAnswer:
    """Compute the chain of all entries again: finds any that was changed, dropped or moved."""
    if not desk.verifying.acquire(blocking=False):
        raise Refused(
            HTTPStatus.TOO_MANY_REQUESTS,
            "the ledger is being verified already; ask again when that is done",
            {"retry-after": "10"},
        )
    try:
        return world_views.audit(desk.stores)
    finally:
        desk.verifying.release()


@router.get(
    "/audit/export",
    dependencies=[Administrator],
    response_class=StreamingResponse,
    responses={200: {"description": "Lines.", "content": {"application/x-ndjson": {}}}},
)
def export(stores: Stores, after: EntryAfter = 0) -> StreamingResponse:
    """All entries as JSON lines, the oldest first, word for word: their hashes can be checked."""
    lines = (f"{line}\n" for line in stores.audit.export(after))
    return StreamingResponse(lines, media_type="application/x-ndjson")


@router.get("/tokens")
def tokens(desk: AtDesk, _caller: Admin, limit: Limit, after: After = None) -> Page[TokenAnswer]:
    """The tokens that may come in, without their secrets."""
    page, following = page_of(desk.tokens.all(), lambda one: one.name, after, limit)
    return Page(items=[TokenAnswer(**_shown(one)) for one in page], next=following)


@router.post("/tokens", status_code=HTTPStatus.CREATED, responses=dict(errors(400, 409, 415)))
def make_token(desk: AtDesk, caller: Admin, question: TokenQuestion) -> NewTokenAnswer:
    """Make a token. Its secret is in this answer and nowhere else."""
    token, secret = desk.tokens.make(question.name, Scope(question.scope))
    desk.stores.events.append(
        None, "token", token.name, {"made_by": caller.name, "scope": token.scope.value}
    )
    answer = NewTokenAnswer(**_shown(token), token=secret)
    # The one answer that carries a secret on purpose, so it is not masked.
    return JSONResponse(answer.model_dump(mode="json"), HTTPStatus.CREATED)  # type: ignore[return-value]


@router.delete("/tokens/{name}", status_code=HTTPStatus.NO_CONTENT, responses=dict(errors(404)))
def revoke_token(desk: AtDesk, caller: Admin, name: TokenName) -> None:
    """Refuse a token from now on."""
    if not desk.tokens.revoke(name):
        raise NotFound(f"there is no token {name}; list them to see which there are")
    desk.stores.events.append(None, "token", name, {"revoked_by": caller.name})


def _shown(token: Token) -> dict[str, object]:
    return {
        "name": token.name,
        "scope": token.scope.value,
        "created_at": from_epoch(token.created_at),
    }
