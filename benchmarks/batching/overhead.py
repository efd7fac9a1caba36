"""What a request costs the server besides the model's run, measured on this machine.

A bare ASGI application, run by the server the predictor runs on, reads a request's rows as JSON and
answers with as many; counted is the processor time of its event loop's thread, so that neither the
client nor other processes are in it. The predictor does a little more (it counts, and signs request
ids): its overhead has been between 0.9 and 1.15 times that of plain Starlette (ADR 004).
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np
import orjson
import uvicorn
import uvloop

from config.errors import UnavailableError

_WARM = 200
_COUNTED = 1200
_START_S = 10.0

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


class _Bare:
    """Reads rows and answers with as many; notes the time of its own thread."""

    def __init__(self) -> None:
        self.times: list[float] = []

    async def __call__(self, _scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        self.times.append(time.thread_time())
        message = await receive()
        rows = np.asarray(orjson.loads(message["body"])["inputs"], dtype=np.float32)
        outputs = {"label": rows[:, 0].astype(np.int64), "scores": rows[:, :8]}
        content = b'{"model":"model","version":1,"outputs":' + orjson.dumps(
            outputs, option=orjson.OPT_SERIALIZE_NUMPY
        )
        length = (b"content-length", b"%d" % len(content))
        kind = (b"content-type", b"application/json")
        await send({"type": "http.response.start", "status": 200, "headers": (kind, length)})
        await send({"type": "http.response.body", "body": content})


def measure_overhead(columns: int = 16, rows: int = 1) -> float:
    """Seconds of the event loop a request of so many numbers costs, without a model.

    Raises:
        UnavailableError: the server did not start.
    """
    app = _Bare()
    config = uvicorn.Config(
        app, http="httptools", lifespan="off", access_log=False, log_level="critical"
    )
    server = uvicorn.Server(config)
    body = orjson.dumps({"inputs": [[0.5] * max(columns, 1)] * rows})
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_serve, args=(server, listening), daemon=True)
        thread.start()
        try:
            _ask(listening.getsockname()[1], body)
        except OSError as error:
            raise UnavailableError(
                f"the server that overhead is measured on does not answer ({error}); try again"
            ) from error
        finally:
            server.should_exit = True
            thread.join(_START_S)
    return (app.times[-1] - app.times[_WARM]) / (len(app.times) - 1 - _WARM)


def _serve(server: uvicorn.Server, listening: socket.socket) -> None:
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(server.serve(sockets=[listening]))
    loop.close()


def _ask(port: int, body: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_S)
    try:
        for _ in range(_WARM + _COUNTED):
            connection.request("POST", "/", body, {"content-type": "application/json"})
            connection.getresponse().read()
    finally:
        connection.close()


def measure_handoff() -> float:
    """Seconds from handing nothing to a thread until the event loop has it back, the median."""
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(_handoffs())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _handoffs() -> float:
    loop = asyncio.get_running_loop()
    found: list[float] = []
    for _ in range(_WARM):
        began = time.perf_counter()
        await loop.run_in_executor(None, _nothing)
        found.append(time.perf_counter() - began)
    return sorted(found)[len(found) // 2]


def _nothing() -> None:
    """Do nothing."""
