"""A light client of MLflow's REST API, for processes that cannot afford to import mlflow.

Everything that goes wrong on the way comes out as RegistryUnavailable within the time limit:
refused connections, silence, 5xx, and answers that are not what MLflow sends. The limit holds for
each wait and for the answer as a whole, so a server that drips bytes is given up as well.
"""

from __future__ import annotations

import json
import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from config.errors import ConfigError, InputError, RegistryUnavailable, UnknownModel, UnknownVersion
from config.redaction import redact
from registry.connections import once_more

_API = "/api/2.0/mlflow/"
_DOWNLOAD_S = 600.0
_MAX_JSON_BYTES = 64 * 2**20
_MISSING = "RESOURCE_DOES_NOT_EXIST"

Json = dict[str, Any]
T = TypeVar("T")


class RestClient:
    """Calls one MLflow server; safe to share between threads.

    Args:
        tracking_uri: ``http(s)://…``; user and password may stand in it.
        timeout_s: the longest a call may take, in seconds; downloads get it for each piece, and
            ten minutes in all.
        environ: where MLFLOW_TRACKING_USERNAME, _PASSWORD and _TOKEN are looked up.

    Raises:
        ConfigError: the address is not one of a server.
    """

    def __init__(
        self, tracking_uri: str, timeout_s: float, environ: Mapping[str, str] | None = None
    ) -> None:
        scheme = urlsplit(tracking_uri).scheme
        if scheme not in {"http", "https"}:
            raise ConfigError(
                f"mlflow.tracking_uri is {redact(tracking_uri)}; it has to name a server as http://…"
            )
        env = os.environ if environ is None else environ
        user, password = env.get("MLFLOW_TRACKING_USERNAME"), env.get("MLFLOW_TRACKING_PASSWORD")
        token = env.get("MLFLOW_TRACKING_TOKEN")
        self.address = redact(tracking_uri)
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            base_url=tracking_uri.rstrip("/"),
            timeout=timeout_s,
            # Reading the certificate authorities takes 60 ms, for nothing without TLS.
            verify=scheme == "https",
            auth=httpx.BasicAuth(user, password) if user and password else None,
            headers={"Authorization": f"Bearer {token}"} if token and not user else None,
        )
        # Connections that are kept open for the next call go with the client that holds them.
        weakref.finalize(self, self._http.close)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, call: str, params: Mapping[str, str], parse: Callable[[Json], T]) -> T:
        """GET ``/api/2.0/mlflow/<call>`` and make a record of the answer with `parse`.

        Raises:
            UnknownVersion, UnknownModel: the server has no such thing.
            InputError: the server does not accept the request.
            RegistryUnavailable: anything else.
        """
        answer = self._json("GET", call, params=params)
        try:
            return parse(answer)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unavailable(f"its answer to {call} misses or mixes fields") from error

    def send(self, method: str, call: str, body: Json) -> Json:
        """POST or DELETE ``/api/2.0/mlflow/<call>``; errors as with :meth:`get`."""
        return self._json(method, call, body=body)

    def download(self, path: str, params: Mapping[str, str], limit: int) -> Iterator[bytes]:
        """The pieces of an artifact, read as they come.

        Raises:
            InputError: it is longer than `limit` bytes, or there is none.
            RegistryUnavailable: anything else.
        """
        size, deadline = 0, time.monotonic() + _DOWNLOAD_S
        try:
            with self._http.stream("GET", path, params=dict(params)) as response:
                if response.status_code >= 400:
                    body = _limited(response, _MAX_JSON_BYTES, self._deadline())
                    raise self._refusal(response.status_code, body)
                for piece in response.iter_bytes(2**16):
                    size += len(piece)
                    if size > limit:
                        raise InputError(
                            f"{params.get('path', path)} at {self.address} is larger than "
                            f"{limit} bytes; serve a smaller file"
                        )
                    if time.monotonic() > deadline:
                        raise self._unavailable(f"a file took more than {_DOWNLOAD_S:.0f} s")
                    yield piece
        except httpx.HTTPError as error:
            raise self._unavailable(_cause(error)) from error

    def _json(
        self,
        method: str,
        call: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Json | None = None,
    ) -> Json:
        ask = partial(self._answer, method, call, params, body)
        try:
            status, content = once_more(ask) if method == "GET" else ask()
        except httpx.HTTPError as error:
            raise self._unavailable(_cause(error)) from error
        if status >= 400:
            raise self._refusal(status, content)
        found = _parsed(content)
        if found is None:
            raise self._unavailable("it answered with something that is not MLflow's JSON")
        return found

    def _answer(
        self, method: str, call: str, params: Mapping[str, str] | None, body: Json | None
    ) -> tuple[int, bytes]:
        with self._http.stream(method, _API + call, params=params, json=body) as response:
            return response.status_code, _limited(response, _MAX_JSON_BYTES, self._deadline())

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout_s

    def _refusal(self, status: int, content: bytes) -> Exception:
        answer = _parsed(content) or {}
        code, message = str(answer.get("error_code", "")), str(answer.get("message", ""))
        if code == _MISSING and "Registered Model" in message:
            return UnknownModel(f"{message.rstrip('.')}, at {self.address}; check the name")
        if code == _MISSING:
            return UnknownVersion(f"{message.rstrip('.')}, at {self.address}; check the version")
        if status in {401, 403}:
            return self._unavailable(
                "it refuses the credentials; set MLFLOW_TRACKING_USERNAME and _PASSWORD"
            )
        if status < 500 and code:
            return InputError(f"MLflow at {self.address} refuses the request: {redact(message)}")
        return self._unavailable(f"it answered with status {status}")

    def _unavailable(self, cause: str) -> RegistryUnavailable:
        return RegistryUnavailable(
            f"the MLflow server {self.address} is not usable: {cause}; check that it is up"
        )


def _limited(response: httpx.Response, limit: int, deadline: float) -> bytes:
    pieces, size = [], 0
    for piece in response.iter_bytes():
        size += len(piece)
        if size > limit:
            raise httpx.DecodingError("the answer is too long", request=response.request)
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the answer takes too long", request=response.request)
        pieces.append(piece)
    return b"".join(pieces)


def _parsed(content: bytes) -> Json | None:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _cause(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it does not answer in time"
    return str(error) or type(error).__name__
