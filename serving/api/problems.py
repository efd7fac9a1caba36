"""Errors as answers: one JSON object (RFC 9457) with a sentence that says what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from config.errors import (
    ConflictError,
    DeadlineExceeded,
    HandedOver,
    InputError,
    PrimeSparkError,
    UnavailableError,
    UnknownModel,
    UnknownVersion,
)
from serving.api.texts import ProblemJson
from serving.api.views import NotFound

_STATUSES: tuple[tuple[type[PrimeSparkError], HTTPStatus], ...] = (
    (NotFound, HTTPStatus.NOT_FOUND),
    (UnknownModel, HTTPStatus.NOT_FOUND),
    (UnknownVersion, HTTPStatus.NOT_FOUND),
    (InputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ConflictError, HTTPStatus.CONFLICT),
    (HandedOver, HTTPStatus.CONFLICT),
    (UnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (DeadlineExceeded, HTTPStatus.GATEWAY_TIMEOUT),
)


class Refused(PrimeSparkError):
    """A request that is not let in.

    Attributes:
        status: the HTTP status.
        headers: more headers of the answer.
    """

    def __init__(
        self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})


def problem(
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    **more: object,
) -> ProblemJson:
    """Return an error answer; `more` is added to its body."""
    title = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Error"
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return ProblemJson(body, status_code=status, headers=dict(headers or {}))


def answer_problems(app: FastAPI) -> None:
    """Let `app` answer every error we know in this form."""
    app.add_exception_handler(PrimeSparkError, _known)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)


async def _known(_request: Request, error: Exception) -> ProblemJson:
    if isinstance(error, Refused):
        return problem(error.status, str(error), error.headers)
    found = (status for kind, status in _STATUSES if isinstance(error, kind))
    status = next(found, HTTPStatus.INTERNAL_SERVER_ERROR)
    headers = {}
    if isinstance(error, UnavailableError):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    return problem(status, str(error), headers)


async def _http(_request: Request, error: Exception) -> ProblemJson:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), error.headers)


async def _invalid(_request: Request, error: Exception) -> ProblemJson:
    assert isinstance(error, RequestValidationError)
    # What was sent is not sent back: it may be anything, and a secret.
    faults = [
        {"at": ".".join(str(part) for part in fault["loc"]), "message": str(fault["msg"])}
        for fault in error.errors()[:20]
    ]
    first = faults[0] if faults else {"at": "request", "message": "it does not fit"}
    detail = f"{first['at']}: {first['message']}; /openapi.json says what is expected"
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=faults)
