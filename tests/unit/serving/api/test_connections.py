"""Connections that do not ask, ask slowly, or are too many: closed, and others are answered."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import uvicorn

from serving.api.connections import MOST_CONNECTIONS, GuardedHttp
from serving.replies import Receive, Scope, Send
from tests.services.agent_api import running_api
from tests.services.processes import LOOPBACK, wait_until

HEAD_S = 0.3
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Impatient(GuardedHttp):
    """The same with less time, so that a test need not wait."""

    head_s = HEAD_S


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(2 * HEAD_S if scope["path"] == "/slow" else 0.0)
    length = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": b"hi"})


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[Callable[[], AsyncClient]]:
    """A server in this process; gives what connects to it."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(16)
        config = uvicorn.Config(hello, http=Impatient, ws="none", lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        yield lambda: AsyncClient(listener.getsockname()[1])
        server.should_exit = True
        await serving


class AsyncClient:
    """One raw connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> AsyncClient:
        self.reader, self.writer = await asyncio.open_connection(LOOPBACK, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def answer(self, request: bytes = REQUEST) -> bytes:
        self.writer.write(request)
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5.0)
        return head.split(b"\r\n", 1)[0] + b" " + await self.reader.readexactly(2)

    async def closed_after(self) -> float:
        """Seconds until the server closes it."""
        begun = time.monotonic()
        assert await asyncio.wait_for(self.reader.read(), 5.0) == b""
        return time.monotonic() - begun


async def test_a_connection_that_asks_nothing_is_closed() -> None:
    async with served() as connect, connect() as client:
        assert await client.closed_after() >= HEAD_S / 2


async def test_a_head_that_drips_in_does_not_gain_time() -> None:
    async with served() as connect, connect() as client:

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                for byte in REQUEST[:-1]:
                    client.writer.write(bytes([byte]))
                    await asyncio.sleep(HEAD_S / 10)

        dripping = asyncio.create_task(drip())
        assert await client.closed_after() < 5 * HEAD_S
        dripping.cancel()


async def test_the_same_holds_for_a_second_request() -> None:
    async with served() as connect, connect() as client:
        assert await client.answer() == b"HTTP/1.1 200 OK hi"
        client.writer.write(REQUEST[:-4])
        assert await client.closed_after() < 5 * HEAD_S


async def test_who_asks_in_time_is_answered_however_long_that_takes() -> None:
    async with served() as connect, connect() as client:
        slow = REQUEST.replace(b"/ ", b"/slow ")
        assert await client.answer(slow) == b"HTTP/1.1 200 OK hi"
        await asyncio.sleep(2 * HEAD_S)
        assert await client.answer() == b"HTTP/1.1 200 OK hi", "an idle connection is kept"


async def test_a_head_without_end_is_refused() -> None:
    async with served() as connect, connect() as client:
        client.writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 300_000)
        head = await asyncio.wait_for(client.reader.readuntil(b"\r\n"), 5.0)
        assert b" 400 " in head


def test_too_many_connections_shut_nobody_out_for_long(tmp_path: Path) -> None:
    with running_api(tmp_path) as api, contextlib.ExitStack() as stack:
        address = (LOOPBACK, int(api.url.rpartition(":")[2]))

        def connected() -> socket.socket:
            return stack.enter_context(socket.create_connection(address, timeout=10.0))

        crowd = [connected() for _ in range(MOST_CONNECTIONS)]
        for one in crowd:
            one.sendall(b"GET / HTTP/1.1\r\nHost: local")
        assert connected().recv(1) == b"", "one too many is closed at once"
        for one in crowd[:20]:
            one.close()

        def answered() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"{api.url}/health/live", timeout=2.0).is_success
            return False

        wait_until(answered, 5.0, "others are answered when there is room")
