"""How much one caller may ask: requests a minute, and the size of one body."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from serving.api.problems import Refused
from serving.replies import Message, Receive, Scope

_MAX_CALLERS = 10_000
_BODY_S = 10.0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimit:
    """A token bucket for each caller: a minute's worth at once, refilled evenly.

    Args:
        per_minute: requests.
        monotonic: seconds that never go back.
    """

    def __init__(self, per_minute: int, monotonic: Callable[[], float]) -> None:
        self._most = float(per_minute)
        self._per_second = per_minute / 60.0
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count one request.

        Raises:
            Refused: this caller has used up its requests; the answer says when there are more.
        """
        with self._lock:
            now = self._monotonic()
            bucket = self._bucket(caller, now)
            bucket.tokens = min(self._most, bucket.tokens + (now - bucket.at) * self._per_second)
            bucket.at = now
            if bucket.tokens >= 1.0:
                bucket.tokens -= 1.0
                return
            wait = math.ceil((1.0 - bucket.tokens) / self._per_second)
        raise Refused(
            HTTPStatus.TOO_MANY_REQUESTS,
            f"more than {self._most:.0f} requests a minute; ask again in {wait} s, or raise "
            "api.requests_per_minute",
            {"retry-after": str(max(1, wait))},
        )

    def _bucket(self, caller: str, now: float) -> _Bucket:
        found = self._buckets.pop(caller, None) or _Bucket(self._most, now)
        self._buckets[caller] = found  # the newest stands last, the first to be dropped first
        while len(self._buckets) > _MAX_CALLERS:
            self._buckets.popitem(last=False)
        return found


async def limited_body(scope: Scope, receive: Receive, most: int) -> Receive | None:
    """Read a request's whole body; return a `receive` that gives it again.

    None when the client went away.

    Raises:
        Refused: the body is larger than `most` bytes, takes too long to come, or is not JSON.
    """
    headers = dict(scope["headers"])
    declared = headers.get(b"content-length", b"0")
    if not declared.isdigit() or len(declared) > 18 or int(declared) > most:
        raise _too_large(most)
    try:
        async with asyncio.timeout(_BODY_S):
            body = await _read(receive, most)
    except TimeoutError:
        raise Refused(
            HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {_BODY_S:.0f} s"
        ) from None
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if body and kind != b"application/json":
        # A form on a foreign page can send other types without asking; JSON it cannot.
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, with Content-Type: application/json"
        )
    return _replaying(body, receive) if body is not None else None


async def _read(receive: Receive, most: int) -> bytes | None:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise _too_large(most)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _replaying(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _too_large(most: int) -> Refused:
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body may have at most {most} bytes")
