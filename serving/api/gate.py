"""What every request passes first: who asks, from where, how much, and how often.

There are no cookies, and a browser adds a bearer token to nothing by itself; so a foreign page can
send requests but never with rights. Requests from other origins are refused all the same, and so
are host names that a foreign page could have pointed at this machine.
"""

from __future__ import annotations

import ipaddress
import logging
from collections import Counter
from collections.abc import Collection
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from config.errors import ConfigError
from config.settings import ApiSettings
from serving.api.limits import RateLimit, limited_body
from serving.api.problems import Refused, problem
from serving.api.tokens import Scope as Right
from serving.api.tokens import Token, TokenFile
from serving.replies import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger("prime_spark.api")

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# A supervisor that asks whether this process lives must not be turned away for others' requests.
_LIVE = "/health/live"
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


class Gate:
    """Lets a request in or answers it itself.

    Args:
        app: what lies behind the gate.
        settings: the limits.
        tokens: who may come in.
        rate: how often.
        answers: takes the number of answers by method, route and status.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: ApiSettings,
        tokens: TokenFile,
        rate: RateLimit,
        answers: Counter[tuple[str, str, int]],
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._rate = rate
        self._max_body = settings.max_body_bytes
        self._hosts = _LOOPBACK_NAMES if is_loopback(settings.host) else None
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection's event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self._let_in(scope, receive, answer)
        except Refused as refusal:
            await problem(refusal.status, str(refusal), refusal.headers)(scope, receive, answer)
        except Exception as error:  # noqa: BLE001
            # The border of the API: whatever it was, its details are for the log alone.
            _log.exception("a request to %s failed", scope["path"], exc_info=error)
            if not answer.status:
                text = "the API met an error of its own; see its log"
                await problem(HTTPStatus.INTERNAL_SERVER_ERROR, text)(scope, receive, answer)
        finally:
            self._count(scope, answer.status)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        _refuse_host(headers.get(b"host", ""), self._hosts)
        _refuse_origin(headers)
        caller = self._caller(headers.get(b"authorization", ""))
        address = scope["client"][0] if scope.get("client") else ""
        if scope["path"] != _LIVE:
            self._rate.take(f"token {caller.name}" if caller else f"address {address}")
        scope.setdefault("state", {})["caller"] = caller
        body = await limited_body(scope, receive, self._max_body)
        if body is None:
            return
        await self._app(scope, body, send)

    def _caller(self, authorization: str) -> Token | None:
        kind, _, secret = authorization.partition(" ")
        if kind.lower() != "bearer" or not secret.strip():
            return None
        return self._tokens.owner_of(secret.strip())

    def _count(self, scope: Scope, status: int) -> None:
        # Only names we gave ourselves, or anybody could fill the memory with labels.
        path = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if path != "other" else "other"
        self._answers[(method, path, status)] += 1


class _Answer:
    """Sends an answer with the headers that all answers have, and remembers its status."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *_HEADERS]
        await self._send(message)


# The gate reads the token itself; this tells OpenAPI's readers how to send it.
_BEARER = HTTPBearer(auto_error=False, description="A token of this home.")


class Needs:
    """The dependency of a route that takes a token of at least one scope."""

    def __init__(self, right: Right) -> None:
        self._right = right

    def __call__(self, request: Request, _described: Annotated[object, Depends(_BEARER)]) -> Token:
        """Return who asks.

        Raises:
            Refused: no token, an unknown one, or one without the right.
        """
        caller: Token | None = request.state.caller
        if caller is None:
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                "send a token that holds: `Authorization: Bearer …`; the first one is in "
                "secrets/api-token of the home directory",
                {"www-authenticate": "Bearer"},
            )
        if not caller.scope.covers(self._right):
            raise Refused(
                HTTPStatus.FORBIDDEN,
                f"the token {caller.name} may {caller.scope}; this needs {self._right}",
            )
        return caller


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_exposure(settings: ApiSettings) -> None:
    """Do nothing for an address that is safe to listen on.

    Raises:
        ConfigError: it is open to others, without TLS and without `api.allow_remote`; or only one
            of certificate and key is set.
    """
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise ConfigError(
            "api.tls_certificate and api.tls_key go together; set both of them, or none"
        )
    safe = is_loopback(settings.host) or settings.tls_certificate is not None
    if not safe and not settings.allow_remote:
        raise ConfigError(
            f"api.host is {settings.host}, which others can reach, without TLS; set "
            "api.tls_certificate and api.tls_key, or api.allow_remote: true behind a proxy that "
            "adds TLS, or listen on 127.0.0.1"
        )


def _refuse_host(host: str, allowed: Collection[str] | None) -> None:
    if allowed is None:
        return
    name = _host_name(host)
    if name not in allowed:
        raise Refused(
            HTTPStatus.MISDIRECTED_REQUEST,
            "this API answers to localhost only; ask it as http://127.0.0.1",
        )


def _refuse_origin(headers: dict[bytes, str]) -> None:
    origin = headers.get(b"origin")
    foreign = origin is not None and _origin_host(origin) != headers.get(b"host", "").lower()
    if foreign or headers.get(b"sec-fetch-site") in {"cross-site", "same-site"}:
        raise Refused(HTTPStatus.FORBIDDEN, "requests from other web pages are refused")


def _origin_host(origin: str) -> str:
    """Return host and port of an origin in lower case; empty for `null` or nonsense."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
