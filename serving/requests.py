"""Reading a request: its method, headers and body, each within bounds."""

from __future__ import annotations

import orjson

from serving.replies import Receive, Refusal, Scope
from serving.tensors import DTYPE_HEADER, SHAPE_HEADER

KEY_HEADER = b"x-prime-spark-key"
KEY_LENGTH = 512
JSON = b"application/json"


async def read_body(receive: Receive, scope: Scope, limit: int) -> bytes:
    """Return the request's body.

    Raises:
        Refusal: 413, the body is longer than `limit` bytes; 400, the client went away.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        _check_length(scope, limit)
        body = await _rest(receive, body, limit)
    elif message["type"] == "http.disconnect":
        raise Refusal(400, "the client went away before its request was complete")
    if len(body) > limit:
        raise too_large(limit)
    return body


def _check_length(scope: Scope, limit: int) -> None:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:20]) > limit:
            raise too_large(limit)


async def _rest(receive: Receive, first: bytes, limit: int) -> bytes:
    parts, size = [first], len(first)
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the client went away before its request was complete")
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise too_large(limit)
        parts.append(part)
        more = bool(message.get("more_body"))
    return b"".join(parts)


def too_large(limit: int) -> Refusal:
    """Return the 413 for a body over `limit` bytes."""
    return Refusal(413, f"the request body is larger than the {limit} bytes allowed; send less")


def parsed(body: bytes) -> dict[str, object]:
    """Return the JSON object in a body.

    Raises:
        Refusal: 400, it is not JSON; 422, it is not an object.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refusal(422, 'the body must be a JSON object such as {"inputs": [[…]]}')
    return value


def sticky_key(value: object) -> bytes:
    """Return the bytes of a key in JSON; nothing for none.

    Raises:
        Refusal: 422, a key is a short text or a whole number.
    """
    if value is None:
        return b""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and len(value) <= KEY_LENGTH:
        return value.encode("utf-8", "surrogatepass")
    raise Refusal(422, f"key must be a text of at most {KEY_LENGTH} characters")


def only(scope: Scope, method: str) -> None:
    """Refuse every other method with 405."""
    if scope["method"] != method:
        allow = ((b"allow", method.encode()),)
        raise Refusal(405, f"{scope['path'][:100]} takes {method} only", allow)


def content_type(headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Return media type and sticky key; JSON where no type is named."""
    named = dict(headers)
    kind = named.get(b"content-type", JSON)
    if kind != JSON:
        kind = kind.split(b";")[0].strip().lower()
    return kind, named.get(KEY_HEADER, b"")[:KEY_LENGTH]


def tensor_headers(headers: list[tuple[bytes, bytes]]) -> tuple[str | None, str | None]:
    """Return the type and shape a raw tensor was sent with, if named."""
    dtype = shape = None
    for name, value in headers:
        if name == DTYPE_HEADER:
            dtype = value.decode("latin-1")
        elif name == SHAPE_HEADER:
            shape = value.decode("latin-1")
    return dtype, shape
