"""How a worker goes without losing a request.

On SIGUSR1 it takes no more connections (the others share its port and take them), answers what is
under way, and says `Connection: close` with every answer, so that clients come back to another
worker. A connection that stays quiet is closed after the drain time: a client that sends its next
request at that very moment would lose it, so this happens as late as is bearable. Then the worker
ends as it always does. SIGTERM at any time ends it at once.

Requests and connections are counted by the server (uvicorn), which is found as the handler of
SIGTERM: it hands itself to nobody.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Collection
from time import monotonic
from typing import Protocol, cast

from serving.replies import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger("prime_spark.serving")
_CLOSE = (b"connection", b"close")
_LOOK_S = 0.05


class Connection(Protocol):
    """What is used of one of the server's connections."""

    def shutdown(self) -> None:
        """Close it, after the answer that is under way if there is one."""
        ...


class _Listener(Protocol):
    def close(self) -> None: ...  # accept no more


class _State(Protocol):
    connections: Collection[Connection]


class Server(Protocol):
    """What is used of uvicorn's server."""

    servers: Collection[_Listener]
    server_state: _State
    should_exit: bool


def find_server() -> Server | None:
    """The server that runs in this process; None when it is not uvicorn."""
    from uvicorn import Server as Uvicorn  # noqa: PLC0415 - BentoML brings it, and only where it serves

    found = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return cast("Server", found) if isinstance(found, Uvicorn) else None


def closing(app: ASGIApp) -> ASGIApp:
    """Return an application that tells clients to close their connection with each answer."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_closing(event: Message) -> None:
            if event["type"] == "http.response.start":
                event = {**event, "headers": [*event.get("headers", ()), _CLOSE]}
            await send(event)

        await app(scope, receive, send_closing)

    return answer


class Drain:
    """Drains this worker when its supervisor says so.

    Args:
        seconds: how long a connection may stay quiet before it is closed.
        request_s: longest time of one request, seconds.
        announce: called at the begin: from then on each answer has to close its connection.
    """

    def __init__(self, seconds: float, request_s: float, announce: Callable[[], None]) -> None:
        self._seconds = seconds
        self._request_s = request_s
        self._announce = announce
        self._task: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Wait for the signal, on the event loop that answers requests."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.begin)

    def begin(self) -> None:
        """Begin to drain; a second signal changes nothing."""
        if self._task is not None:
            return
        server = find_server()
        if server is None:
            _log.warning("this worker cannot drain: its server is not known; it stops at once")
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self._task = asyncio.get_running_loop().create_task(self._drain(server))

    async def _drain(self, server: Server) -> None:
        self._announce()
        for listener in server.servers:
            listener.close()
        for connection in list(server.server_state.connections):
            if _busy(connection):
                connection.shutdown()
        await self._until_closed(server, self._seconds)
        for connection in list(server.server_state.connections):
            connection.shutdown()
        await self._until_closed(server, self._request_s)
        server.should_exit = True

    async def _until_closed(self, server: Server, seconds: float) -> None:
        by = monotonic() + seconds
        while server.server_state.connections and monotonic() < by:
            await asyncio.sleep(_LOOK_S)


def _busy(connection: Connection) -> bool:
    """Whether an answer is under way: its head may not have left yet, so it can say `close`."""
    cycle = getattr(connection, "cycle", None)
    return cycle is not None and not cycle.response_complete
