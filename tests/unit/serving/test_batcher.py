from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from config.errors import DeadlineExceeded
from serving.batcher import Batcher, CostModel
from serving.batches import Outputs
from serving.knobs import Knobs
from serving.replies import ModelRunFailed, Refusal
from serving.tensors import Feeds

LIGHT, MIDDLE, HEAVY = 1e-6, 0.001, 1.0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    executor = ThreadPoolExecutor(2)
    yield executor
    executor.shutdown()


class Model:
    """Doubles its input; fails on negative numbers; can be held back."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, feeds: Feeds) -> Outputs:
        assert self.gate.wait(10.0)
        values = feeds["x"]
        self.batches.append(len(values))
        if float(values.min()) < 0:
            raise RuntimeError("negative\nsecond line")
        return [values * 2]


def batcher(
    model: Model,
    pool: ThreadPoolExecutor,
    cost: float,
    knobs: Knobs | None = None,
    *,
    batchable: bool = True,
    timeout_s: float = 10.0,
) -> Batcher:
    return Batcher(
        model,
        CostModel(cost, 0.0),
        knobs or Knobs(),
        batchable=batchable,
        executor=pool,
        timeout_s=timeout_s,
    )


def feeds(*values: float) -> Feeds:
    return {"x": np.array(values)}


async def test_a_light_model_runs_at_once(pool: ThreadPoolExecutor) -> None:
    model = Model()
    way = batcher(model, pool, LIGHT)
    assert way.at_once(1)
    assert way.run_now(feeds(3.0), 1)[0].tolist() == [6.0]


async def test_requests_of_one_turn_share_a_run_and_get_their_own_rows(
    pool: ThreadPoolExecutor,
) -> None:
    model = Model()
    way = batcher(model, pool, MIDDLE)
    futures = [way.submit(feeds(1.0), 1), way.submit(feeds(2.0, 3.0), 2), way.submit(feeds(4.0), 1)]
    answers = [list(outputs[0]) for outputs in await asyncio.gather(*futures)]
    assert answers == [[2.0], [4.0, 6.0], [8.0]]
    assert model.batches == [4]
    assert way.counts.joined == 3


async def test_what_arrives_during_a_run_is_the_next_batch(pool: ThreadPoolExecutor) -> None:
    model = Model()
    model.gate.clear()
    way = batcher(model, pool, HEAVY)
    first = way.submit(feeds(1.0), 1)
    await asyncio.sleep(0)  # the first batch is on its way
    later = [way.submit(feeds(float(n)), 1) for n in range(3)]
    model.gate.set()
    await asyncio.gather(first, *later)
    assert model.batches == [1, 3]


async def test_a_batch_is_never_larger_than_the_knob_says(pool: ThreadPoolExecutor) -> None:
    model = Model()
    knobs = Knobs(max_batch_size=2)
    way = batcher(model, pool, MIDDLE, knobs)
    await asyncio.gather(*(way.submit(feeds(float(n)), 1) for n in range(5)))
    assert max(model.batches) == 2
    knobs.turn({"max_batch_size": 5})
    await asyncio.gather(*(way.submit(feeds(float(n)), 1) for n in range(5)))
    assert model.batches[-1] == 5


async def test_only_the_request_at_fault_gets_the_error(pool: ThreadPoolExecutor) -> None:
    way = batcher(Model(), pool, MIDDLE)
    futures = [way.submit(feeds(value), 1) for value in (1.0, -1.0, 2.0)]
    answers = await asyncio.gather(*futures, return_exceptions=True)
    assert [getattr(answer, "args", answer)[0] for answer in answers if isinstance(answer, list)]
    assert isinstance(answers[1], ModelRunFailed)
    assert str(answers[1]) == "the model failed on this input: negative"
    assert isinstance(answers[0], list)
    assert isinstance(answers[2], list)


async def test_a_model_whose_outputs_are_not_by_row_is_run_request_by_request(
    pool: ThreadPoolExecutor,
) -> None:
    def summing(feeds: Feeds) -> Outputs:
        return [feeds["x"].sum(keepdims=True)]

    way = Batcher(
        summing, CostModel(MIDDLE, 0.0), Knobs(), batchable=True, executor=pool, timeout_s=1.0
    )
    futures = [way.submit(feeds(1.0), 1), way.submit(feeds(2.0), 1)]
    answers = await asyncio.gather(*futures)
    assert [outputs[0].tolist() for outputs in answers] == [[1.0], [2.0]]


async def test_unlike_shapes_are_not_joined(pool: ThreadPoolExecutor) -> None:
    model = Model()
    way = batcher(model, pool, MIDDLE)
    futures = [
        way.submit({"x": np.ones((1, 2))}, 1),
        way.submit({"x": np.ones((1, 3))}, 1),
    ]
    answers = await asyncio.gather(*futures)
    assert [outputs[0].shape for outputs in answers] == [(1, 2), (1, 3)]
    assert model.batches == [1, 1]


async def test_a_full_queue_refuses_with_retry_after(pool: ThreadPoolExecutor) -> None:
    model = Model()
    model.gate.clear()
    way = batcher(model, pool, HEAVY, Knobs(queue_limit=2))
    running = way.submit(feeds(0.0), 1)
    await asyncio.sleep(0)
    waiting = [way.submit(feeds(1.0), 1), way.submit(feeds(2.0), 1)]
    with pytest.raises(Refusal) as refused:
        way.submit(feeds(3.0), 1)
    assert refused.value.status == 503
    assert refused.value.headers[0][0] == b"retry-after"
    model.gate.set()
    await asyncio.gather(running, *waiting)
    assert way.counts.refused == 1


async def test_a_request_waits_no_longer_than_the_limit(pool: ThreadPoolExecutor) -> None:
    model = Model()
    model.gate.clear()
    way = batcher(model, pool, HEAVY, timeout_s=0.05)
    running = way.submit(feeds(0.0), 1)
    await asyncio.sleep(0)
    waiting = way.submit(feeds(1.0), 1)
    answers = await asyncio.gather(running, waiting, return_exceptions=True)
    assert all(isinstance(answer, DeadlineExceeded) for answer in answers)
    model.gate.set()
    assert (await way.submit(feeds(5.0), 1))[0].tolist() == [10.0]


async def test_a_model_without_rows_is_never_batched(pool: ThreadPoolExecutor) -> None:
    model = Model()
    way = batcher(model, pool, HEAVY, batchable=False)
    await asyncio.gather(*(way.submit(feeds(float(n)), 1) for n in range(3)))
    assert model.batches == [1, 1, 1]


async def test_waiting_for_others_ends_when_the_batch_is_full(pool: ThreadPoolExecutor) -> None:
    model = Model()
    way = batcher(model, pool, MIDDLE, Knobs(max_batch_size=2, max_wait_ms=1000.0))
    assert not way.at_once(1)
    async with asyncio.timeout(0.5):
        await asyncio.gather(way.submit(feeds(1.0), 1), way.submit(feeds(2.0), 1))
    assert model.batches == [2]


def test_the_cost_model_follows_what_it_sees() -> None:
    cost = CostModel(0.001, 0.0)
    for _ in range(100):
        cost.learn(1, 0.010)
    assert cost.predict(1) == pytest.approx(0.010, rel=0.01)
    cost.learn(1, 100.0)
    assert cost.predict(1) < 0.025
