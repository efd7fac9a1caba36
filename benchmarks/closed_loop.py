"""A lean closed-loop HTTP/1.1 client: how many requests a server answers with N connections.

Each connection sends its next request when the answer to the last one is complete. That measures
capacity, and hides waiting (coordinated omission), so latencies under load are measured by
`benchmarks.load` and not here. It runs as a process of its own, on cores of its own, and does so
little for a request that the server is the bottleneck:

    python -m benchmarks.closed_loop --port 3000 --path /predict/digits --body body.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_VERSION = b'"version":'


@dataclass(slots=True)
class LoopResult:
    """What a run saw; `failures` counts statuses other than 200 and broken connections."""

    requests: int = 0
    seconds: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    client_cpu_share: float = 0.0

    @property
    def per_second(self) -> float:
        """Answered requests per second."""
        return self.requests / self.seconds if self.seconds > 0 else 0.0


class _Tally:
    def __init__(self, watch_versions: bool) -> None:
        self.watch_versions = watch_versions
        self.requests = 0
        self.failures: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.stopping = False


class _Connection(asyncio.Protocol):
    """One keep-alive connection; answers without a length are not understood, nor needed."""

    def __init__(self, request: bytes, tally: _Tally) -> None:
        self._request = request
        self._tally = tally
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not of asyncio's class, but have its methods.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

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
        assert self._transport is not None
        if self._tally.stopping:
            self._transport.close()
        else:
            self._transport.write(self._request)

    def _answered(self, head: bytes, body: bytes) -> None:
        tally = self._tally
        status = head[9:12]
        if status == b"200":
            tally.requests += 1
        else:
            tally.failures[status.decode("latin-1")] += 1
        if tally.watch_versions:
            place = body.find(_VERSION) + len(_VERSION)
            tally.versions[body[place : place + 12].split(b",")[0].decode("latin-1")] += 1

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self._tally.stopping:
            self._tally.failures["connection lost"] += 1
        if not self.closed.done():
            self.closed.set_result(None)


def http_request(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    """Return the bytes of one POST request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def closed_loop(
    port: int, request: bytes, connections: int, seconds: float, *, watch_versions: bool = False
) -> LoopResult:
    """Send the same request over `connections` connections for about `seconds`."""
    loop = asyncio.get_running_loop()
    tally = _Tally(watch_versions)
    began, cpu = time.perf_counter(), time.process_time()
    made = [
        await loop.create_connection(lambda: _Connection(request, tally), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    tally.stopping = True
    ended = time.perf_counter()
    done = tally.requests
    busy = time.process_time() - cpu
    await asyncio.wait([protocol.closed for _, protocol in made], timeout=15.0)
    return LoopResult(
        requests=done,
        seconds=ended - began,
        failures=dict(tally.failures),
        versions=dict(tally.versions),
        client_cpu_share=busy / (ended - began),
    )


def main() -> None:
    """Run one load and print its result as JSON."""
    parser = argparse.ArgumentParser(description="closed-loop load on one URL")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--cores", default="")
    parser.add_argument("--watch-versions", action="store_true")
    options = parser.parse_args()
    if options.cores:
        os.sched_setaffinity(0, {int(core) for core in options.cores.split(",")})
    request = http_request(options.path, options.body.read_bytes())
    result = uvloop.run(
        closed_loop(
            options.port,
            request,
            options.connections,
            options.seconds,
            watch_versions=options.watch_versions,
        )
    )
    json.dump(asdict(result), sys.stdout)


if __name__ == "__main__":
    main()
