"""Runs of a real session are timed, joined as the batcher joins them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.batching.cost_curve import Effort, measure_curves, one_row_requests
from benchmarks.batching.overhead import measure_handoff, measure_overhead
from benchmarks.batching.settings import Session
from benchmarks.serving_models import write_model
from config.errors import InputError
from registry.onnx_files import inspect
from tests.services.onnx_models import linear_model
from tests.services.onnx_models import write_model as write_onnx


def test_more_rows_take_longer_and_less_a_row(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_model(path, 4, 1)
    session = Session(1)
    curves = measure_curves(
        path, inspect(path), [], sessions=[session], most_rows=64, effort=Effort(1.0)
    )
    levels = curves[session].levels
    assert [level.rows for level in levels] == [1, 2, 4, 8, 16, 32, 64]
    assert levels[-1].seconds[0] > levels[0].seconds[0]
    assert levels[-1].seconds[0] / 64 < levels[0].seconds[0]
    assert all(level.cpu_s > 0 for level in levels)


def test_a_model_of_fixed_rows_is_timed_as_it_is(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "fixed.onnx", linear_model(rows=3))
    schema = inspect(path)
    curves = measure_curves(
        path, schema, [], sessions=[Session()], most_rows=64, effort=Effort(0.1)
    )
    assert [level.rows for level in curves[Session()].levels] == [1]


def test_inputs_the_model_does_not_take_are_told(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx")
    wrong = [{"X": np.zeros((2, 5), dtype=np.float32)}]
    with pytest.raises(InputError, match="the model fails on 1 rows"):
        measure_curves(path, inspect(path), wrong, sessions=[Session()], most_rows=2)


def test_recorded_inputs_become_requests_of_one_row(tmp_path: Path) -> None:
    schema = inspect(write_onnx(tmp_path / "model.onnx"))
    found = one_row_requests(schema, [{"X": np.ones((3, 4), dtype=np.float32)}])
    assert [len(one["X"]) for one in found] == [1, 1, 1]


def test_overhead_and_handing_over_are_measured() -> None:
    assert 1e-6 < measure_overhead(16) < 0.05
    assert 1e-7 < measure_handoff() < 0.1
