"""Speaks to one Redis server: bounded time, one kind of error, and no password in any of them.

A connection is made for each conversation and closed after it: the agent looks twice a minute, and
a server that was restarted meanwhile is then no matter.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from config.errors import ConfigError, UnavailableError
from config.redaction import MASK, redact

if TYPE_CHECKING:
    from redis import Redis
    from redis.connection import AbstractConnection

T = TypeVar("T")

_SCHEMES = ("redis", "rediss", "unix")
_MOST_TEXT = 200
_HANDSHAKE_S = 5.0


class CommandRefused(UnavailableError):
    """The server answers, but does not carry out a command for us."""


class RedisServer:
    """One server.

    Args:
        name: how messages call it.
        url: redis://, rediss:// or unix://, with user and password where they are needed.

    Raises:
        ConfigError: the URL is none of a Redis server.
    """

    def __init__(self, name: str, url: str) -> None:
        self._url = url
        self._secrets = _secrets(url)
        self._name = f"the Redis server {name} at {self._clean(url)}"
        if url.partition("://")[0] not in _SCHEMES:
            # Not shown: what is no URL of ours may hold a secret anywhere.
            raise ConfigError(
                f"the URL of the Redis server {name} has to begin with redis://, rediss:// or unix://"
            )

    @contextmanager
    def talk(self, timeout_s: float) -> Iterator[Redis]:
        """Give a client for one conversation, all of which has to be over within `timeout_s`.

        Raises:
            UnavailableError: the server is away, busy loading, refuses, or is no Redis server.
        """
        with self._connected(timeout_s) as client:
            # Its own limit holds for each piece of an answer; this one for all of them together.
            hang_up = threading.Timer(timeout_s, client.connection_pool.disconnect)
            hang_up.daemon = True
            hang_up.start()
            try:
                yield client
            finally:
                hang_up.cancel()

    @contextmanager
    def listening(self) -> Iterator[AbstractConnection]:
        """Give a connection for MONITOR; whoever listens on it sets itself limits.

        Raises:
            UnavailableError: as `talk`.
        """
        with self._connected(_HANDSHAKE_S) as client:
            connection = client.connection_pool.get_connection()
            try:
                yield connection
            finally:
                connection.disconnect()

    def unusable(self, cause: str) -> UnavailableError:
        """The error for a server that cannot be used as it is."""
        return UnavailableError(f"{self._name} is not usable: {self._clean(cause)[:_MOST_TEXT]}")

    @contextmanager
    def _connected(self, timeout_s: float) -> Iterator[Redis]:
        # Imported here: it costs 22 MB, which an agent without a Redis server need not have.
        import redis  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        client: Redis | None = None
        try:
            client = redis.Redis.from_url(
                self._url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
                lib_name=None,
                lib_version=None,
            )
            yield client
        # The last three are what the client says to an answer that is no Redis server's, and when
        # its connection is taken away while it reads.
        except (redis.RedisError, OSError, ValueError, TypeError, AttributeError) as error:
            # Not chained: the server may have repeated the password, and a traceback shows it.
            raise self.unusable(_cause(error)) from None
        finally:
            if client is not None:
                client.close()

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return redact(text)


def refused(call: Callable[[], T]) -> tuple[T | None, str]:
    """Call a server; return its answer, or what it says where it refuses the command itself."""
    import redis  # noqa: PLC0415

    try:
        return call(), ""
    except (redis.exceptions.BusyLoadingError, redis.exceptions.AuthenticationError):
        raise
    except redis.ResponseError as error:
        return None, str(error)


def _secrets(url: str) -> tuple[str, ...]:
    """The password of a URL, as it is written there and as it is sent."""
    try:
        password = urlsplit(url).password
    except ValueError:
        return ()
    found = {password, unquote(password)} if password else set()
    return tuple(sorted(found, key=len, reverse=True))


def _cause(error: Exception) -> str:
    import redis  # noqa: PLC0415

    if isinstance(error, TimeoutError | redis.TimeoutError):
        return "it does not answer in time; check that it is up"
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return "it is loading its data; it answers when that is done"
    if isinstance(error, redis.exceptions.AuthenticationError):
        return f"it refuses user or password ({error}); set them in the URL of its setting"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return f"{error}; allow it in its access control list"
    if isinstance(error, redis.ConnectionError | OSError):
        return f"{error}; check that it is up"
    return f"{type(error).__name__}: {error}; check that it is a Redis server"
