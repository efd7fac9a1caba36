from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from benchmarks.arrivals import constant, poisson
from benchmarks.http_target import HttpTarget, row_bodies
from benchmarks.load import Limits, LoadResult, RequestFailed, open_loop, precise_loop
from benchmarks.load_command import main
from benchmarks.measures import Measure
from config.errors import InputError
from tests.unit.benchmarks.onnx_models import evaluation

STALL_S = 0.4
STALL_AT = 40

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A real HTTP server on a free port of the loopback."""
    app = web.Application()
    app.router.add_post("/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def stalling() -> Handler:
    """Answers one request after another, at once, but for one stall."""
    lock, count = asyncio.Lock(), 0

    async def handle(_: web.Request) -> web.Response:
        nonlocal count
        async with lock:
            count += 1
            if count == STALL_AT:
                await asyncio.sleep(STALL_S)
        return web.json_response({"outputs": [1]})

    return handle


def p(result: LoadResult, percent: int) -> float:
    reading = {r.name: r for r in result.latency()}[f"latency_p{percent}"]
    assert isinstance(reading, Measure)
    return reading.value


async def _closed_loop(target: HttpTarget, count: int) -> list[float]:
    """What a generator that waits for each answer would report, in ms."""
    latencies = []
    for index in range(count):
        start = time.monotonic()
        await target(index)
        latencies.append((time.monotonic() - start) * 1e3)
    return latencies


async def test_a_stall_is_seen_by_everyone_it_made_wait() -> None:
    async with serving(stalling()) as url, HttpTarget(url, lambda _: b"{}") as target:
        result = await open_loop(target, constant(200.0, 1.0))
    assert result.answered == 200
    # 80 requests fall into the stall; the first waits all of it, the others what is left of it.
    assert p(result, 99) > STALL_S * 1e3 * 0.8
    assert p(result, 90) > STALL_S * 1e3 * 0.3
    assert result.histogram.percentile(99) == pytest.approx(p(result, 99), rel=0.1)


async def test_a_closed_loop_would_have_hidden_the_same_stall() -> None:
    async with serving(stalling()) as url, HttpTarget(url, lambda _: b"{}") as target:
        latencies = await _closed_loop(target, 200)
    assert float(np.quantile(latencies, 0.99)) < STALL_S * 1e3 * 0.5


async def test_what_exceeds_the_bound_in_flight_is_counted_as_overload() -> None:
    never = asyncio.Event()

    async def send(_: int) -> None:
        await never.wait()

    result = await open_loop(send, constant(1000.0, 0.05), limits=Limits(5, drain_s=0.05))
    assert result.answered == 0
    assert result.errors == {"overload": 45, "unanswered": 5}
    assert result.achieved_rate == 0
    assert result.offered_rate == pytest.approx(1000.0)


async def test_errors_are_counted_by_kind_and_not_as_latencies() -> None:
    async def send(index: int) -> int:
        if index % 4 == 1:
            raise RequestFailed("http 503")
        if index % 4 == 2:
            raise ValueError("a fault of the caller's own")
        return index

    result = await open_loop(send, constant(2000.0, 0.02))
    assert result.errors == {"http 503": 10, "ValueError": 10}
    assert result.answered == result.latencies_ms.size == result.histogram.count == 20


async def test_http_failures_have_names() -> None:
    async def handle(request: web.Request) -> web.Response:
        match int(await request.text()):
            case 0:
                return web.json_response({"error": "busy"}, status=503)
            case 1:
                await asyncio.sleep(5)
                return web.Response()
            case 2:
                return web.Response(text="hello")
            case 3:
                return web.json_response([1])
            case _:
                assert request.transport is not None
                request.transport.close()
                return web.Response()

    async with (
        serving(handle) as url,
        HttpTarget(url, lambda index: str(index).encode(), timeout_s=0.3) as target,
    ):
        result = await open_loop(target, constant(100.0, 0.05))
    assert result.errors == {
        "http 503": 1,
        "timeout": 1,
        "not JSON": 1,
        "not a JSON object": 1,
        "connection lost": 1,
    }


async def test_nobody_listening_is_a_refused_connection() -> None:
    async with serving(stalling()) as url:
        pass
    async with HttpTarget(url, lambda _: b"{}") as target:
        result = await open_loop(target, constant(100.0, 0.02))
    assert result.errors == {"connection refused": 2}


async def test_a_client_that_is_too_slow_says_so() -> None:
    async def send(_: int) -> None:
        # Blocks the whole client, as a client does that computes between requests.
        time.sleep(0.02)

    result = await open_loop(send, constant(500.0, 0.1))
    assert result.client_limited
    assert p(result, 99) > 100.0


async def test_feedback_follows_each_answer_and_is_not_in_its_latency() -> None:
    told: list[tuple[int, int]] = []

    async def send(index: int) -> int:
        return index * 2

    async def feedback(index: int, answer: int) -> None:
        await asyncio.sleep(0.2)
        if index == 0:
            raise RequestFailed("http 500")
        told.append((index, answer))

    result = await open_loop(send, constant(100.0, 0.05), on_answer=feedback)
    assert sorted(told) == [(1, 2), (2, 4), (3, 6), (4, 8)]
    assert result.late_errors == {"http 500": 1}
    assert result.errors == {}
    assert p(result, 99) < 200.0


async def test_no_arrivals_are_an_error() -> None:
    async def send(_: int) -> None:
        return

    with pytest.raises(InputError, match="no arrival"):
        await open_loop(send, np.empty(0))


def test_the_precise_loop_keeps_its_times_to_a_fraction_of_a_millisecond() -> None:
    async def send(_: int) -> None:
        return

    async def run() -> LoadResult:
        return await open_loop(send, poisson(200.0, 0.5, np.random.default_rng(1)))

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        lag = runner.run(run()).lag.percentile(25)
    assert lag is not None
    assert lag < 1.0


def test_the_command_loads_a_server_and_prints_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.npz").write_bytes(evaluation(20).to_bytes())
    bodies: list[object] = []

    async def handle(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.json_response({"outputs": [0]})

    async def run() -> int:
        async with serving(handle) as url:
            arguments = ["--url", url, "--inputs", str(tmp_path / "rows.npz"), "--json"]
            return await asyncio.to_thread(
                main, [*arguments, "--rate", "100", "--seconds", "0.3", "--arrivals", "constant"]
            )

    assert asyncio.run(run()) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["offered"] == result["answered"] == len(bodies) == 30
    assert result["errors"] == {}
    assert bodies[0] == {"inputs": [evaluation(20).inputs[0].tolist()]}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--body", "nowhere.json"], "cannot be read"),
        (["--body", "broken.json"], "not JSON"),
        (["--body", "body.json", "--rate", "0"], "rate must be a positive number"),
        (["--body", "body.json", "--timestamps", "broken.json"], "line 1"),
    ],
)
def test_the_command_refuses_what_it_cannot_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "body.json").write_text("{}")
    files = [str(tmp_path / a) if a.endswith(".json") else a for a in arguments]
    assert main(["--url", "http://127.0.0.1:9", *files]) == 64
    assert problem in capsys.readouterr().err


def test_row_bodies_carry_the_key_of_their_user() -> None:
    bodies = row_bodies([[1.5, 2.0]], lambda index: f"user-{index}")
    assert json.loads(bodies[0]) == {"inputs": [[1.5, 2.0]], "key": "user-0"}
