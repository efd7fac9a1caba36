"""What goes back to a client: ready-made ASGI messages and errors as JSON sentences."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

import orjson

from config.errors import PrimeSparkError

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON_TYPE: Header = (b"content-type", b"application/json")
METRICS_TYPE: Header = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


class Refusal(PrimeSparkError):
    """A request that is answered with an error status and one sentence.

    Attributes:
        status: the HTTP status.
        headers: more headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: Iterable[Header] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = tuple(headers)


class ModelRunFailed(PrimeSparkError):
    """The model itself failed on an input that fits its schema."""


def later(message: str, retry_after_s: float) -> Refusal:
    """Return a 503 that says when another attempt makes sense (whole seconds, at least one)."""
    seconds = str(max(1, math.ceil(retry_after_s))).encode()
    return Refusal(503, message, ((b"retry-after", seconds),))


async def reply(
    send: Send, status: int, body: bytes, headers: Iterable[Header] = (JSON_TYPE,)
) -> None:
    """Send one whole answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def reply_json(send: Send, status: int, value: Mapping[str, object]) -> None:
    """Send a JSON answer."""
    await reply(send, status, orjson.dumps(value))


async def reply_refusal(send: Send, refusal: Refusal) -> None:
    """Send an error answer: `{"error": "one sentence"}`."""
    body = orjson.dumps({"error": str(refusal).encode("utf-8", "replace").decode()})
    await reply(send, refusal.status, body, (JSON_TYPE, *refusal.headers))
