"""Reads a server over HTTP for a target: kept connections, bounded time, bounded size.

Whatever goes wrong comes out as UnavailableError with the cause in a sentence, its child
PageMissing where a server answers that it has no such page. The time limit holds
for an answer as a whole, so a server that drips bytes is given up as well.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping

import httpx
from pydantic import JsonValue

from config.clock import Clock
from config.errors import UnavailableError
from config.redaction import redact
from registry.connections import once_more

MAX_BYTES = 4 * 2**20


class PageMissing(UnavailableError):
    """The server answers, but has no such page: status 404."""


class HttpSource:
    """One server.

    Args:
        what: how messages call it, such as `the predictor`.
        url: its address; user and password may stand in it.
        clock: tells how long an answer takes.
        max_bytes: longer answers are refused.
        headers: sent with every request.
    """

    def __init__(
        self,
        what: str,
        url: str,
        clock: Clock,
        *,
        max_bytes: int = MAX_BYTES,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._name = f"{what} at {redact(url)}"
        self._clock = clock
        self._max_bytes = max_bytes
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            # Reading the certificate authorities takes 60 ms, for nothing without TLS.
            verify=url.startswith("https:"),
            # Not packed: a small answer could not be unpacked into a huge one.
            headers={"Accept-Encoding": "identity", **(headers or {})},
        )
        # Connections that are kept open for the next look go with the target that holds them.
        weakref.finalize(self, self._http.close)

    def deadline(self, timeout_s: float) -> float:
        """The moment on the monotonic clock by which every answer of a look has to be there."""
        return self._clock.monotonic() + timeout_s

    def get(self, path: str, deadline: float, params: Mapping[str, str] | None = None) -> bytes:
        """GET a page."""
        return self._call("GET", path, deadline, params=params)

    def get_json(
        self, path: str, deadline: float, params: Mapping[str, str] | None = None
    ) -> JsonValue:
        """GET a page of JSON."""
        return self._parsed(path, self._call("GET", path, deadline, params=params))

    def post_json(self, path: str, deadline: float, body: JsonValue) -> JsonValue:
        """POST JSON and read JSON; for servers whose queries are POSTs."""
        return self._parsed(path, self._call("POST", path, deadline, body=body))

    def unusable(self, cause: str) -> UnavailableError:
        """The error for an answer that came but cannot be used."""
        return UnavailableError(f"{self._name} is not usable: {cause}; check that it is up")

    def _call(
        self,
        method: str,
        path: str,
        deadline: float,
        *,
        params: Mapping[str, str] | None = None,
        body: JsonValue = None,
    ) -> bytes:
        request = self._request(method, path, params=params, body=body)
        try:
            # All that is asked here only reads, with POST too.
            status, content = once_more(lambda: self._answer(request, deadline))
        except httpx.HTTPError as error:
            raise self.unusable(_cause(error)) from error
        if status == httpx.codes.NOT_FOUND:
            raise PageMissing(f"{self._name} has nothing at {path}; check its address and version")
        if status >= 400:
            raise self.unusable(f"it answered {path} with status {status}")
        return content

    def _request(
        self, method: str, path: str, *, params: Mapping[str, str] | None, body: JsonValue
    ) -> httpx.Request:
        try:
            return self._http.build_request(method, path, params=params, json=body)
        except httpx.InvalidURL as error:
            raise self.unusable(_cause(error)) from error

    def _answer(self, request: httpx.Request, deadline: float) -> tuple[int, bytes]:
        left = deadline - self._clock.monotonic()
        if left <= 0:
            raise self.unusable("it does not answer in time")
        request.extensions["timeout"] = httpx.Timeout(left).as_dict()
        response = self._http.send(request, stream=True)
        try:
            return response.status_code, self._read(response, deadline)
        finally:
            response.close()

    def _read(self, response: httpx.Response, deadline: float) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise httpx.DecodingError("its answer is packed", request=response.request)
        pieces, size = [], 0
        for piece in response.iter_raw():
            size += len(piece)
            if size > self._max_bytes:
                raise httpx.DecodingError("its answer is too long", request=response.request)
            if self._clock.monotonic() > deadline:
                raise httpx.ReadTimeout("its answer takes too long", request=response.request)
            pieces.append(piece)
        return b"".join(pieces)

    def _parsed(self, path: str, content: bytes) -> JsonValue:
        try:
            found: JsonValue = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self.unusable(f"its answer to {path} is not JSON") from error
        return found


def _cause(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it does not answer in time"
    return redact(str(error)) or type(error).__name__
