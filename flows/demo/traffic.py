"""The demo's visitors: open-loop requests to the predictor, and the true labels as feedback.

Runs as a process of its own (`python -m flows.demo.traffic PLAN`), so that the work of the story
does not distort it, until its standard input closes: whoever started it is then gone. Arrivals are
Poisson and do not wait for answers. Labels follow in bulk a moment after the answers, as they
would from a system that learns later what was right; some are sent twice.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.arrivals import poisson
from config.clock import Clock, SystemClock, epoch
from flows.demo.counts import UNKNOWN_VERSION, TrafficCounter, write_status
from flows.demo.training import Digits, Images

VERSION_HEADER = "X-Model-Version"
# A camera that is set too bright; its levels of grey go past those of the training images.
_BRIGHTNESS = 1.3
_WINDOW_SECONDS = 600.0
_VISITORS = 1_000_000
_CONNECTIONS = 64
_TIMEOUT_SECONDS = 15.0


class TrafficPlan(BaseModel):
    """What to send, where to, and where to tell of it; rates per second, delays in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    predictor: str
    model: str
    images: Path
    status: Path
    rate: float = Field(gt=0)
    seed: int = 1
    bright_share: float = Field(default=0.15, ge=0, le=1)
    label_delay: float = Field(default=0.3, ge=0)
    label_interval: float = Field(default=0.25, gt=0)
    repeat_share: float = Field(default=0.02, ge=0, le=1)
    status_interval: float = Field(default=0.2, gt=0)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request ready to be sent, up to the key, and the digit it shows."""

    body: bytes
    label: int


@dataclass(frozen=True, slots=True)
class _Label:
    due: float
    item: dict[str, object]


def brighter(images: Images) -> Images:
    """Return the images as the bright camera sees them."""
    levels: Images = np.round(images * np.float32(_BRIGHTNESS)).astype(np.float32)
    return levels


def visits_of(digits: Digits) -> list[Visit]:
    """Return one visit for each image."""
    return [
        Visit(orjson.dumps({"inputs": [image.tolist()]})[:-1] + b',"key":"', int(label))
        for image, label in zip(digits.images, digits.labels, strict=True)
    ]


class Traffic:
    """Sends visits and labels, and counts what comes back; used from one event loop."""

    def __init__(self, plan: TrafficPlan, digits: Digits, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._random = random.Random(plan.seed)
        # Of their own, so that visits do not depend on when labels are sent.
        self._repeats = random.Random(plan.seed)
        self._arrivals = np.random.default_rng(plan.seed)
        self._normal = visits_of(digits)
        bright = Digits(brighter(digits.images), digits.labels)
        self._bright = [
            visit
            for visit, image in zip(visits_of(bright), bright.images, strict=True)
            if image.max() > digits.images.max()
        ]
        self._labels: deque[_Label] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self.counter = TrafficCounter()

    async def run(self, until: asyncio.Event) -> None:
        """Send until told to stop; then wait for the answers still under way."""
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            side = [
                asyncio.create_task(self._send_labels(session, until)),
                asyncio.create_task(self._tell(until)),
            ]
            await self._arrive(session, until)
            await asyncio.gather(*side, *self._tasks)
        self._write()

    async def _arrive(self, session: aiohttp.ClientSession, until: asyncio.Event) -> None:
        start = self._clock.monotonic()
        while True:
            for offset in poisson(self._plan.rate, _WINDOW_SECONDS, self._arrivals):
                wait = start + float(offset) - self._clock.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                if until.is_set():
                    return
                self._send(session)
            start += _WINDOW_SECONDS

    def _send(self, session: aiohttp.ClientSession) -> None:
        bright = self._random.random() < self._plan.bright_share
        visit = self._random.choice(self._bright if bright and self._bright else self._normal)
        body = b'%bvisitor-%d"}' % (visit.body, self._random.randrange(_VISITORS))
        task = asyncio.create_task(self._visit(session, visit, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _visit(self, session: aiohttp.ClientSession, visit: Visit, body: bytes) -> None:
        self.counter.sent += 1
        sent_at = self._now()
        try:
            url = f"{self._plan.predictor}/predict/{self._plan.model}"
            async with session.post(url, data=body, headers=_JSON) as answer:
                raw = await answer.read()
                version = int(answer.headers.get(VERSION_HEADER, UNKNOWN_VERSION))
        except (aiohttp.ClientError, TimeoutError) as error:
            self.counter.failed(UNKNOWN_VERSION, type(error).__name__)
            return
        if answer.status != 200:
            self.counter.failed(version, f"HTTP {answer.status}")
            return
        self._answered(visit, orjson.loads(raw), sent_at)

    def _answered(self, visit: Visit, answer: dict[str, Any], sent_at: float) -> None:
        now = self._now()
        self.counter.answered(
            answer["version"],
            answer["variant"],
            right=answer["outputs"]["label"][0] == visit.label,
            sent_at=sent_at,
            at=now,
        )
        label = _Label(
            now + self._plan.label_delay,
            {"request_id": answer["request_id"], "label": visit.label},
        )
        self._labels.append(label)

    async def _send_labels(self, session: aiohttp.ClientSession, until: asyncio.Event) -> None:
        while not until.is_set():
            await asyncio.sleep(self._plan.label_interval)
            items = self._due_labels()
            if items:
                await self._send_bulk(session, items)

    def _due_labels(self) -> list[dict[str, object]]:
        now, due = self._now(), []
        again: list[_Label] = []
        while self._labels and self._labels[0].due <= now:
            label = self._labels.popleft()
            due.append(label.item)
            if self._repeats.random() < self._plan.repeat_share:
                again.append(_Label(now + self._plan.label_delay, label.item))
        self._labels.extend(again)
        return due

    async def _send_bulk(
        self, session: aiohttp.ClientSession, items: list[dict[str, object]]
    ) -> None:
        tally = self.counter.feedback
        tally["sent"] += len(items)
        try:
            url = f"{self._plan.predictor}/feedback"
            async with session.post(
                url, data=orjson.dumps({"items": items}), headers=_JSON
            ) as reply:
                said = await reply.json()
        except (aiohttp.ClientError, TimeoutError):
            return
        if reply.status == 200:
            tally["accepted"] += said["accepted"]
            tally["duplicates"] += said["duplicate"]
            tally["refused"] += said["refused"]

    async def _tell(self, until: asyncio.Event) -> None:
        while not until.is_set():
            await asyncio.sleep(self._plan.status_interval)
            self._write()

    def _write(self) -> None:
        write_status(self._plan.status, self.counter.status(self._now()))

    def _now(self) -> float:
        return epoch(self._clock.now())


_JSON = {"Content-Type": "application/json"}


async def _serve(plan: TrafficPlan) -> None:
    until = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), until.set)
    with np.load(plan.images, allow_pickle=False) as stored:
        digits = Digits(stored["images"], stored["labels"])
    await Traffic(plan, digits, SystemClock()).run(until)


def main(arguments: list[str]) -> None:
    """Run the plan given as JSON in the first argument."""
    import uvloop

    plan = TrafficPlan.model_validate_json(arguments[0])
    uvloop.run(_serve(plan))


if __name__ == "__main__":
    main(sys.argv[1:])
