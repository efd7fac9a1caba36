"""Traffic as the data path records it."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import pytest

from registry.traffic import read_inputs, read_traffic
from serving.plans import Wanted
from serving.tensors import Feeds
from tests.unit.serving.serving_scene import MODEL, Scene, until


async def test_requests_are_recorded_with_arrival_rows_and_version(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.publish(Wanted(1))
    began = time.time()
    for _ in range(3):
        await scene.ask()
    scene.recordings.flush()
    [(worker, records)] = read_traffic(scene.traffic, MODEL).items()
    assert worker == "worker-1"
    assert records["version"].tolist() == [1, 1, 1]
    assert records["rows"].tolist() == [1, 1, 1]
    assert records["key"].tolist() == [0, 0, 0]
    at = records["at"]
    assert ((at >= began - 0.05) & (at <= time.time())).all()
    await until(lambda: len(read_inputs(scene.traffic, MODEL)) == 1, "an input")
    assert read_inputs(scene.traffic, MODEL)[0]["X"].tolist() == np.zeros((1, 4)).tolist()
    scene.recordings.close()
    assert read_traffic(scene.traffic, MODEL) == {}
    assert read_inputs(scene.traffic, MODEL) == []


async def test_with_a_cache_equal_inputs_have_equal_keys(tmp_path: Path) -> None:
    scene = Scene(tmp_path, cache_entries=10)
    scene.publish(Wanted(1))
    for _ in range(3):
        await scene.ask()
    scene.recordings.flush()
    keys = read_traffic(scene.traffic, MODEL)["worker-1"]["key"]
    assert len(set(keys.tolist())) == 1
    assert keys[0] != 0


async def test_a_request_that_is_refused_has_arrived_too(tmp_path: Path) -> None:
    scene = Scene(tmp_path, request_timeout_seconds=0.05)
    scene.publish(Wanted(1))
    plan = scene.scorer.plan(MODEL)
    bad: Feeds = {"X": np.zeros((1, 3), np.float32)}
    with pytest.raises(Exception, match="the model failed"):
        await scene.scorer.score(plan, b"", bad, 1, time.perf_counter())
    scene.recordings.flush()
    assert len(read_traffic(scene.traffic, MODEL)["worker-1"]) == 1


async def test_a_model_that_is_served_no_more_is_not_recorded(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.publish(Wanted(1))
    scene.recordings.keep([])
    assert read_traffic(scene.traffic, MODEL) == {}


async def test_recording_can_be_switched_off(tmp_path: Path) -> None:
    scene = Scene(tmp_path, traffic_entries=0)
    scene.publish(Wanted(1))
    await scene.ask()
    scene.recordings.flush()
    assert not scene.traffic.exists()


async def test_a_folder_that_cannot_be_written_is_told_once_and_requests_are_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "traffic").write_text("in the way")
    scene = Scene(tmp_path)
    with caplog.at_level(logging.WARNING, "prime_spark.serving"):
        for version in (1, 2):
            scene.publish(Wanted(version))
            await scene.ask()
            scene.recordings.flush()
    told = [record for record in caplog.records if "traffic is not recorded" in record.message]
    assert len(told) == 1
