"""What all routes share: the stores, the scopes, the limits of pages, the shape of errors."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, BaseModel

from serving.api.feed import Feed
from serving.api.gate import Needs
from serving.api.stores import AgentStores
from serving.api.tokens import Scope, Token, TokenFile

# A ledger entry's number is a 64-bit integer.
MAX_ENTRY = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Desk:
    """What the routes of one API process work with.

    Attributes:
        verifying: held while the ledger's chain is computed; once at a time is enough.
        answers: how many answers were given, by method, route and status.
    """

    stores: AgentStores
    tokens: TokenFile
    feed: Feed
    verifying: threading.Lock = field(default_factory=threading.Lock)
    answers: Counter[tuple[str, str, int]] = field(default_factory=Counter)


def desk_of(request: Request) -> Desk:
    """Return the desk of the process that answers this request."""
    desk: Desk = request.app.state.desk
    return desk


def stores_of(request: Request) -> AgentStores:
    """Return the stores of the process that answers this request."""
    return desk_of(request).stores


AtDesk = Annotated[Desk, Depends(desk_of)]
Stores = Annotated[AgentStores, Depends(stores_of)]
Reader = Depends(Needs(Scope.READ))
Administrator = Depends(Needs(Scope.ADMIN))
Approver = Annotated[Token, Depends(Needs(Scope.APPROVE))]
Admin = Annotated[Token, Depends(Needs(Scope.ADMIN))]


def _printable(text: str) -> str:
    # Names go into database queries, which take neither zero bytes nor halves of character pairs.
    if not text.isprintable():
        raise ValueError("use printable characters only")
    return text


def _printable_or_none(text: str | None) -> str | None:
    return text if text is None else _printable(text)


Name = Annotated[str, AfterValidator(_printable)]
OptionalName = Annotated[
    str | None, Query(min_length=1, max_length=200), AfterValidator(_printable_or_none)
]
After = OptionalName
EntryAfter = Annotated[int, Query(ge=0, le=MAX_ENTRY)]


def page_size(request: Request, limit: Annotated[int, Query(ge=1, le=10_000)] = 100) -> int:
    """Return how many items a page may have: what was asked for, within `api.max_page`."""
    return min(limit, stores_of(request).settings.api.max_page)


Limit = Annotated[int, Depends(page_size)]


class ProblemAnswer(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


_TEXTS = {
    400: "The body is not JSON.",
    401: "No token, or one that does not hold.",
    403: "The token may not do this, or the request comes from another web page.",
    404: "There is no such thing.",
    408: "The body did not come in time.",
    409: "Not what was expected; nothing was changed.",
    413: "The body is too large.",
    415: "The body has to be JSON.",
    421: "The host name is not one this API answers to.",
    422: "The request does not fit; the detail says what is expected.",
    429: "Too many requests; see Retry-After.",
    503: "The ledger does not answer; see Retry-After.",
}
_ALWAYS = (401, 403, 408, 413, 421, 422, 429, 503)


def errors(*statuses: int) -> Mapping[int | str, dict[str, Any]]:
    """Return what OpenAPI is to say of a route's errors: those all routes have, and these."""
    content = {"application/problem+json": {"schema": ProblemAnswer.model_json_schema()}}
    return {
        status: {"description": _TEXTS[status], "content": content}
        for status in sorted({*_ALWAYS, *statuses})
    }
