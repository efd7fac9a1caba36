"""The replay is the batcher: the real one, on a loop in virtual time, does the same at the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.batching import replay as replaying
from benchmarks.batching.replay import known_costs, replay
from benchmarks.batching.replayed import NEVER, Objective, Replayed, Server
from benchmarks.batching.run_costs import RunCosts
from benchmarks.batching.settings import BatchSetting
from benchmarks.batching.traffic import Traffic
from benchmarks.batching.virtual_loop import VirtualLoop
from config.errors import DeadlineExceeded
from serving import batcher as batching
from serving.batcher import Batcher, CostModel
from serving.knobs import Knobs
from serving.replies import Refusal
from serving.tensors import Feeds
from tests.unit.benchmarks.batching.costs import costs


class _Thread(Executor):
    """Does at once what a thread would do beside the loop."""

    def __init__(self, loop: VirtualLoop, handoff_s: float) -> None:
        self._loop, self._handoff_s = loop, handoff_s

    def submit(self, function: Callable[..., object], /, *args: object) -> None:  # type: ignore[override]
        self._loop.work(self._handoff_s)
        self._loop.in_thread(function, *args)


class _Drive:
    """The real batcher under traffic, on a loop in virtual time."""

    def __init__(
        self, traffic: Traffic, setting: BatchSetting, drawn: RunCosts, server: Server
    ) -> None:
        self.traffic, self.drawn, self.server = traffic, drawn, server
        self.loop = VirtualLoop(sharing=setting.session.threads >= server.cores)
        self.out = Replayed(traffic, [NEVER] * len(traffic.at))
        self.open = len(traffic.at)
        self.setting = setting
        self.all_done: asyncio.Future[None] = self.loop.create_future()

    def run(self, monkeypatch: pytest.MonkeyPatch) -> Replayed:
        monkeypatch.setattr(batching, "time", SimpleNamespace(perf_counter=self.loop.time))
        try:
            self.loop.run_until_complete(self._main())
        finally:
            self.loop.close()
        return self.out

    async def _main(self) -> None:
        knobs = Knobs(
            max_batch_size=self.setting.max_batch_size,
            max_wait_ms=self.setting.max_wait_ms,
            queue_limit=self.server.queue_limit,
        )
        self.batcher = Batcher(
            self._model,
            CostModel(*known_costs(self.drawn, batchable=self.server.batchable)),
            knobs,
            batchable=self.server.batchable,
            executor=_Thread(self.loop, self.server.handoff_s),
            timeout_s=self.server.timeout_s,
        )
        for request, at in enumerate(self.traffic.at):
            self.loop.call_at(at, self._arrive, request)
        await self.all_done

    def _model(self, feeds: Feeds) -> Sequence[np.ndarray]:
        rows = len(feeds["x"])
        requests = len(set(feeds["x"][:, 0].tolist()))
        began = self.loop.time()
        self.loop.work(self.drawn.of(len(self.out.runs), rows))
        self.out.runs.append((began, rows, requests))
        return [feeds["x"]]

    def _arrive(self, request: int) -> None:
        self.loop.work(self.server.read_s)
        rows = self.traffic.rows[request]
        feeds = {"x": np.full((rows, 1), request)}
        if self.batcher.at_once(rows):
            self.batcher.run_now(feeds, rows)
            self._answer(request)
            return
        try:
            future = self.batcher.submit(feeds, rows)
        except Refusal:
            self._answer(request, failed=True)
            return
        future.add_done_callback(
            lambda done: self._answer(
                request, failed=isinstance(done.exception(), DeadlineExceeded)
            )
        )

    def _answer(self, request: int, *, failed: bool = False) -> None:
        self.loop.work(self.server.answer_s)
        self.out.answered[request] = NEVER if failed else self.loop.time()
        self.open -= 1
        if not self.open:
            self.all_done.set_result(None)


def _expired(done: asyncio.Future[Any]) -> bool:
    return isinstance(done.exception(), DeadlineExceeded)


def same(found: Replayed, real: Replayed) -> None:
    assert len(found.runs) == len(real.runs)
    for ours, theirs in zip(found.runs, real.runs, strict=True):
        assert ours[1:] == theirs[1:]
        assert ours[0] == pytest.approx(theirs[0], abs=1e-8)
    assert found.answered == pytest.approx(real.answered, abs=1e-8)


def poisson(rate: float, count: int, seed: int, most_rows: int = 1) -> Traffic:
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.exponential(1.0 / rate, count))
    return Traffic(at.tolist(), rng.integers(1, most_rows + 1, count).tolist())


SCENES = {
    "light, alone": (costs(6e-6, 1e-6), 1000.0, BatchSetting(32), Server()),
    "light, crowded": (costs(2e-4, 1e-5), 9000.0, BatchSetting(32), Server(1e-5, 1e-5)),
    "around the loop's budget": (costs(2e-3, 1e-4), 900.0, BatchSetting(16), Server()),
    "in a thread": (costs(6e-3, 1e-3), 300.0, BatchSetting(32), Server()),
    "in a thread on the only core": (
        costs(6e-3, 1e-3),
        250.0,
        BatchSetting(32),
        Server(cores=1),
    ),
    "waiting for more": (costs(5e-4, 1e-4), 900.0, BatchSetting(8, 5.0), Server()),
    "overloaded": (costs(6e-3, 3e-3), 900.0, BatchSetting(4), Server(queue_limit=20)),
    "timing out": (costs(0.05, 0.02), 300.0, BatchSetting(4), Server(timeout_s=0.4)),
    "one by one": (costs(4e-3, 1e-3), 150.0, BatchSetting(1), Server(batchable=False)),
}


@pytest.mark.parametrize("scene", SCENES)
def test_the_replay_does_what_the_real_batcher_does(
    scene: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, rate, setting, server = SCENES[scene]
    traffic = poisson(rate, 1500, seed=3, most_rows=3)
    real = _Drive(traffic, setting, drawn, server).run(monkeypatch)
    same(replay(traffic, setting, drawn, server), real)
    # The scenes are what their names say.
    failed = sum(value == NEVER for value in real.answered)
    assert (failed > 0) == (scene in {"overloaded", "timing out"})
    assert (max(requests for _, _, requests in real.runs) > 1) == (
        scene not in {"one by one", "light, alone"}
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_it_does_so_whatever_comes(data: st.DataObject) -> None:
    draw = data.draw
    drawn = costs(
        draw(st.floats(1e-6, 2e-2)), draw(st.floats(0.0, 3e-3)), noise=draw(st.floats(0.0, 3.0))
    )
    traffic = poisson(
        draw(st.floats(20.0, 20_000.0)),
        draw(st.integers(1, 200)),
        draw(st.integers(0, 10_000)),
        draw(st.integers(1, 6)),
    )
    setting = BatchSetting(draw(st.integers(1, 64)), draw(st.sampled_from([0.0, 1.0, 5.0])))
    server = Server(
        read_s=draw(st.floats(0.0, 2e-4)),
        answer_s=draw(st.floats(0.0, 2e-4)),
        handoff_s=draw(st.floats(0.0, 2e-4)),
        cores=draw(st.integers(1, 2)),
        queue_limit=draw(st.integers(1, 300)),
        timeout_s=draw(st.floats(0.01, 2.0)),
        batchable=draw(st.booleans()),
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        real = _Drive(traffic, setting, drawn, server).run(monkeypatch)
    same(replay(traffic, setting, drawn, server), real)


def test_its_constants_are_the_batchers() -> None:
    ours = (
        replaying.LOOP_BUDGET_S,
        replaying.WORTH_JOINING_S,
        replaying.PROBE_EVERY,
        replaying.STAY_JOINING,
        replaying.SMOOTHING,
    )
    theirs = (
        batching._LOOP_BUDGET_S,
        batching._WORTH_JOINING_S,
        batching._PROBE_EVERY,
        batching._STAY_JOINING,
        batching._SMOOTHING,
    )
    assert ours == theirs


def test_it_gives_up_as_soon_as_the_objective_cannot_be_met() -> None:
    drawn = costs(6e-3, 3e-3)
    traffic = poisson(900.0, 3000, seed=3)
    found = replay(traffic, BatchSetting(4), drawn, Server(), within=Objective(20.0))
    assert found.gave_up
    assert len(found.runs) < 200
