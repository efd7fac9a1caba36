"""The demo's models have to be what the story says they are."""

from __future__ import annotations

import time

import numpy as np
import pytest

from flows.demo.traffic import brighter
from flows.demo.training import (
    RECIPES,
    DemoData,
    Digits,
    TrainedModel,
    divide_digits,
    measure_accuracy,
    train,
)
from registry.onnx_files import inspect, open_session

WEAK, BETTER, SLOW, WORSE, BROKEN = range(5)


@pytest.fixture(scope="module")
def data() -> DemoData:
    return divide_digits()


@pytest.fixture(scope="module")
def models(data: DemoData, tmp_path_factory: pytest.TempPathFactory) -> list[TrainedModel]:
    folder = tmp_path_factory.mktemp("models")
    return [train(recipe, data, folder) for recipe in RECIPES]


def test_no_image_is_in_two_parts(data: DemoData) -> None:
    parts = (data.training, data.evaluation, data.live)
    assert sum(len(part.labels) for part in parts) == 1797
    again = divide_digits()
    assert all(
        np.array_equal(one.images, other.images)
        for one, other in zip(parts, (again.training, again.evaluation, again.live), strict=True)
    )


def test_second_is_clearly_better_than_the_first(models: list[TrainedModel]) -> None:
    assert 0.80 <= models[WEAK].accuracy <= 0.86
    assert models[BETTER].accuracy >= 1.12 * models[WEAK].accuracy


def test_fourth_is_a_little_worse_than_the_second(models: list[TrainedModel]) -> None:
    assert 0.01 < models[BETTER].accuracy - models[WORSE].accuracy < 0.035


def test_live_images_rank_the_models_as_the_evaluation_does(
    models: list[TrainedModel], data: DemoData
) -> None:
    live = [measure_accuracy(models[n].path, data.live) for n in (WEAK, WORSE, BETTER)]
    assert live == sorted(live)
    assert live[2] >= 1.12 * live[0]


def test_third_is_accurate_and_takes_many_times_longer(
    models: list[TrainedModel], data: DemoData
) -> None:
    assert models[SLOW].accuracy > models[BETTER].accuracy - 0.02
    assert _best_ms(models[SLOW], data) > 2 + _best_ms(models[BETTER], data)


def test_fifth_fails_only_on_images_brighter_than_those_it_knows(
    models: list[TrainedModel], data: DemoData
) -> None:
    assert models[BROKEN].accuracy > models[BETTER].accuracy - 0.02
    assert measure_accuracy(models[BROKEN].path, data.live) > 0.95
    bright = Digits(brighter(data.live.images), data.live.labels)
    assert measure_accuracy(models[BETTER].path, bright) > 0.9
    with pytest.raises(Exception, match="out of data bounds"):
        measure_accuracy(models[BROKEN].path, bright)


def test_all_take_the_same_input(models: list[TrainedModel]) -> None:
    inputs = {inspect(model.path).inputs for model in models}
    assert len(inputs) == 1
    assert all(inspect(model.path).batchable for model in models)


def _best_ms(model: TrainedModel, data: DemoData) -> float:
    session = open_session(model.path, 1)
    feeds = {session.get_inputs()[0].name: data.live.images[:1]}
    times = []
    for _ in range(30):
        began = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - began)
    return min(times) * 1000
