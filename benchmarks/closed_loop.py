"""A lean closed-loop HTTP/1.1 client: how many requests servers answer with N connections each.

Each connection sends its next request when the answer to the last one is complete. That measures
capacity, and hides waiting (coordinated omission), so latencies under load are measured by
`benchmarks.load` and not here. Several servers take turns in slices of a fraction of a second, on
connections that stay open: what else the machine does meets all of them alike. The client runs as
a process of its own, on cores of its own, and does little enough for a request that the server is
the bottleneck. It reads its orders as JSON from standard input:

    {"targets": {"ours": {"port": 3000, "path": "/predict/digits"}}, "body": "{…}",
     "connections": 16, "rounds": 20, "slice_s": 0.2, "cores": "1", "watch_versions": false}
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import uvloop

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_VERSION = b'"version":'
_PATIENCE_S = 30.0


@dataclass(slots=True)
class TargetResult:
    """What one server did; `failures` counts other statuses than 200 and lost connections.

    `rates` has the answers per second of each round.
    """

    rates: list[float] = field(default_factory=list)
    requests: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class LoopResult:
    """All servers' results, and how busy the client was: near 1 it would be the bottleneck."""

    targets: dict[str, TargetResult]
    client_cpu_share: float

    @classmethod
    def from_json(cls, text: str) -> LoopResult:
        """Read what the client printed."""
        raw: dict[str, Any] = json.loads(text)
        targets = {name: TargetResult(**one) for name, one in raw["targets"].items()}
        return cls(targets, raw["client_cpu_share"])


class _Server:
    """One target: its connections, and what they have seen."""

    def __init__(self, request: bytes, watch_versions: bool) -> None:
        self.request = request
        self.watch_versions = watch_versions
        self.requests = 0
        self.failures: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.running = False
        self.busy = 0
        self.idle = asyncio.Event()
        self.connections: list[_Connection] = []

    async def open(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            made = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", port)
            self.connections.append(made[1])

    async def take_turn(self, seconds: float) -> float:
        """Return the answers per second of one slice, the requests under way at its end included.

        Raises:
            RuntimeError: the server went silent.
        """
        before, began = self.requests, time.perf_counter()
        self.running = True
        self.idle.clear()
        for connection in self.connections:
            connection.ask()
        await asyncio.sleep(seconds)
        self.running = False
        async with asyncio.timeout(_PATIENCE_S):
            await self.idle.wait()
        return (self.requests - before) / (time.perf_counter() - began)


class _Connection(asyncio.Protocol):
    """One keep-alive connection; answers without a length are not understood, nor needed."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not of asyncio's class, but have its methods.
        self._transport = cast("asyncio.Transport", transport)

    def ask(self) -> None:
        assert self._transport is not None
        self._server.busy += 1
        self._transport.write(self._server.request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return
        head = self._buffer[:end].lower()
        start = head.find(_LENGTH)
        stop = head.find(b"\r\n", start)
        length = int(head[start + len(_LENGTH) : stop if stop > 0 else None])
        if len(self._buffer) < end + len(_HEAD_END) + length:
            return
        self._answered(head, self._buffer[end + len(_HEAD_END) :])
        self._buffer = b""
        self._done()

    def _done(self) -> None:
        server = self._server
        server.busy -= 1
        if server.running:
            self.ask()
        elif server.busy == 0:
            server.idle.set()

    def _answered(self, head: bytes, body: bytes) -> None:
        server = self._server
        status = head[9:12]
        if status == b"200":
            server.requests += 1
        else:
            server.failures[status.decode("latin-1")] += 1
        if server.watch_versions:
            place = body.find(_VERSION) + len(_VERSION)
            server.versions[body[place : place + 12].split(b",")[0].decode("latin-1")] += 1

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._server.failures["connection lost"] += 1
        self._server.running = False
        self._server.idle.set()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def http_request(path: str, body: bytes) -> bytes:
    """Return the bytes of one POST request with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def closed_loop(orders: dict[str, Any]) -> LoopResult:
    """Carry out the orders (see the module's text)."""
    body = str(orders["body"]).encode()
    servers: dict[str, _Server] = {}
    for name, target in orders["targets"].items():
        server = _Server(http_request(target["path"], body), bool(orders["watch_versions"]))
        await server.open(int(target["port"]), int(orders["connections"]))
        servers[name] = server
    names = list(servers)
    rates: dict[str, list[float]] = {name: [] for name in names}
    began, cpu = time.perf_counter(), time.process_time()
    for turn in range(int(orders["rounds"])):
        for place in range(len(names)):
            name = names[(turn + place) % len(names)]
            rates[name].append(await servers[name].take_turn(float(orders["slice_s"])))
    share = (time.process_time() - cpu) / (time.perf_counter() - began)
    results = {name: _result(server, rates[name]) for name, server in servers.items()}
    for server in servers.values():
        for connection in server.connections:
            connection.close()
    return LoopResult(results, share)


def _result(server: _Server, rates: list[float]) -> TargetResult:
    return TargetResult(rates, server.requests, dict(server.failures), dict(server.versions))


def main() -> None:
    """Carry out the orders of standard input and print the result as JSON."""
    orders = json.load(sys.stdin)
    if orders["cores"]:
        os.sched_setaffinity(0, {int(core) for core in orders["cores"].split(",")})
    json.dump(asdict(uvloop.run(closed_loop(orders))), sys.stdout)


if __name__ == "__main__":
    main()
