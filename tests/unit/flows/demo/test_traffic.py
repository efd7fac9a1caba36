"""The demo's visitors against a small server that answers in the predictor's form."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from config.clock import SystemClock
from flows.demo.counts import TrafficStatus, read_status
from flows.demo.traffic import Traffic, TrafficPlan, brighter, visits_of
from flows.demo.training import Digits
from flows.demo.visitors import Visitors, store_images

SEED = 5
DIGITS = Digits(np.tile(np.arange(16, dtype=np.float32), (10, 4)), np.arange(10, dtype=np.int64))


class Answers:
    """Answers every image with the digit 3; images of the bright camera fail in version 5."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.labels: list[dict[str, Any]] = []
        self.asked: dict[str, float] = {}
        self.delays: list[float] = []

    async def predict(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.keys.append(body["key"])
        if max(body["inputs"][0]) > 16:
            return web.json_response({"error": "no"}, status=500, headers={"X-Model-Version": "5"})
        request_id = str(len(self.keys))
        self.asked[request_id] = time.monotonic()
        answer = {
            "model": "digits",
            "version": 2,
            "variant": "champion",
            "request_id": request_id,
            "outputs": {"label": [3]},
        }
        return web.json_response(answer)

    async def feedback(self, request: web.Request) -> web.Response:
        items = (await request.json())["items"]
        known = {label["request_id"] for label in self.labels}
        new = [item for item in items if item["request_id"] not in known]
        self.delays += [time.monotonic() - self.asked[item["request_id"]] for item in new]
        self.labels += items
        counts = {"accepted": len(new), "duplicate": len(items) - len(new), "refused": 0}
        return web.json_response(counts)


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest_asyncio.fixture
async def server(answers: Answers) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/predict/digits", answers.predict)
    app.router.add_post("/feedback", answers.feedback)
    async with TestServer(app) as running:
        yield str(running.make_url("")).rstrip("/")


def plan(server: str, folder: Path, **changes: object) -> TrafficPlan:
    values: dict[str, Any] = {
        "predictor": server,
        "model": "digits",
        "images": folder / "images.npz",
        "status": folder / "status.json",
        "rate": 200.0,
        "seed": SEED,
        "label_delay": 0.1,
        "label_interval": 0.05,
        "status_interval": 0.05,
    }
    return TrafficPlan(**(values | changes))


async def run_for(plan: TrafficPlan, seconds: float) -> TrafficStatus:
    until = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, until.set)
    await Traffic(plan, DIGITS, SystemClock()).run(until)
    status = read_status(plan.status)
    assert status is not None
    return status


async def test_every_request_is_counted_with_its_version(
    server: str, answers: Answers, tmp_path: Path
) -> None:
    status = await run_for(plan(server, tmp_path, bright_share=0.3), 1.0)
    assert status.sent == len(answers.keys) == status.answered + status.failed
    assert 140 < status.sent < 270
    assert status.failures == {"v5: HTTP 500": status.failed}
    assert status.failed > 20
    right = status.version(2)
    assert right.accuracy == pytest.approx(0.1, abs=0.1)


async def test_labels_come_later_and_some_twice(
    server: str, answers: Answers, tmp_path: Path
) -> None:
    status = await run_for(plan(server, tmp_path, bright_share=0.0, repeat_share=0.2), 1.0)
    assert min(answers.delays) >= 0.09
    assert status.feedback.duplicates > 5
    assert status.feedback.accepted + status.feedback.duplicates == status.feedback.sent
    assert {label["label"] for label in answers.labels} == set(range(10))


async def test_a_server_that_is_gone_is_failures_of_no_version(tmp_path: Path) -> None:
    status = await run_for(plan("http://127.0.0.1:9", tmp_path), 0.3)
    assert status.answered == 0
    assert status.failed == status.sent > 0
    assert set(status.failures) == {"ClientConnectorError"}


async def test_same_seed_sends_the_same_visitors(
    server: str, answers: Answers, tmp_path: Path
) -> None:
    await run_for(plan(server, tmp_path), 0.3)
    first, answers.keys = answers.keys, []
    await run_for(plan(server, tmp_path), 0.3)
    shared = min(len(first), len(answers.keys))
    assert shared > 20
    # Arrivals may overtake each other on their way, so only the order is free.
    assert len(set(first[:shared]) & set(answers.keys[:shared])) >= shared - 5


def test_bright_images_go_past_the_known_levels() -> None:
    images = np.array([[0.0, 8.0, 16.0]], dtype=np.float32)
    assert brighter(images).tolist() == [[0.0, 10.0, 21.0]]


def test_a_visit_is_json_once_the_key_is_added() -> None:
    visit = visits_of(DIGITS)[4]
    body = json.loads(visit.body + b'visitor-1"}')
    assert body["key"] == "visitor-1"
    assert np.shape(body["inputs"]) == (1, 64)
    assert visit.label == 4


async def test_the_process_ends_when_its_input_closes(
    server: str, answers: Answers, tmp_path: Path
) -> None:
    todo = plan(server, tmp_path, images=store_images(tmp_path / "images.npz", DIGITS))
    visitors = await asyncio.to_thread(Visitors, todo, os.environ, tmp_path / "log")
    deadline = time.monotonic() + 30
    while visitors.status.answered < 20 and time.monotonic() < deadline:
        assert visitors.trouble is None, (tmp_path / "log").read_text()
        await asyncio.sleep(0.05)
    await asyncio.to_thread(visitors.leave)
    assert visitors.trouble is not None
    assert "status 0" in visitors.trouble, (tmp_path / "log").read_text()
    assert visitors.status.answered + visitors.status.failed == len(answers.keys)
