"""Quantising: kept only where labelled rows show that it does no harm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quantization import original, quantize
from config.errors import InputError
from registry.evaluation import EvaluationData
from registry.onnx_files import open_session, sha256
from tests.services.onnx_models import linear_model, write_model
from tests.services.toy_models import classifier, evaluation, model_file, network


def test_a_network_becomes_smaller_and_keeps_its_accuracy(tmp_path: Path) -> None:
    path, rows = network(tmp_path / "net.onnx")
    done = quantize(model_file(path), rows, tmp_path / "small.onnx", margin=0.05)
    assert done.kept, done.reason
    assert done.small is not None
    assert done.small.bytes < 0.5 * done.original.bytes
    assert done.original.quality == 1.0
    assert done.small.quality is not None
    assert done.small.quality >= 0.95
    assert done.digest == sha256(done.path) == sha256(tmp_path / "small.onnx")


def test_more_loss_than_the_margin_ships_the_original(tmp_path: Path) -> None:
    path, rows = network(tmp_path / "net.onnx")
    file = model_file(path)
    done = quantize(file, rows, tmp_path / "small.onnx", margin=0.0)
    assert not done.kept
    assert (done.path, done.digest) == (path, file.digest)
    assert done.reason.startswith("quantised it loses too much: accuracy 0.9")


def test_without_labelled_rows_the_original_is_shipped(tmp_path: Path) -> None:
    path, _ = network(tmp_path / "net.onnx")
    done = quantize(model_file(path), None, tmp_path / "small.onnx", margin=1.0)
    assert (done.kept, done.path) == (False, path)
    assert done.small is not None


def test_a_model_without_much_to_quantise_is_shipped_as_it_is(tmp_path: Path) -> None:
    path = classifier(tmp_path / "tiny.onnx", 0.0)
    done = quantize(model_file(path), evaluation(), tmp_path / "small.onnx", margin=0.05)
    assert (done.kept, done.path, done.small) == (False, path, None)


def test_an_error_may_grow_by_the_margin_s_share_only(tmp_path: Path) -> None:
    path = write_model(tmp_path / "numbers.onnx", linear_model(features=2048))
    rows = np.random.default_rng(1).normal(size=(200, 2048)).astype(np.float32)
    labels = np.asarray(open_session(path, 1).run(None, {"X": rows})[0])[:, 0]
    noisy = EvaluationData(rows, labels + np.float32(100.0))
    kept = quantize(model_file(path), noisy, tmp_path / "small.onnx", margin=0.05)
    assert (kept.kept, kept.metric) == (True, "rmse")
    exact = EvaluationData(rows, labels)
    assert not quantize(model_file(path), exact, tmp_path / "small.onnx", margin=0.05).kept


def test_evaluation_data_of_another_kind_is_an_error(tmp_path: Path) -> None:
    path, rows = network(tmp_path / "net.onnx")
    numbers = EvaluationData(rows.inputs, rows.labels.astype(np.float32) + np.float32(0.5))
    with pytest.raises(InputError):
        quantize(model_file(path), numbers, tmp_path / "small.onnx", margin=0.05)


def test_quantising_can_be_off(tmp_path: Path) -> None:
    path, rows = network(tmp_path / "net.onnx")
    done = original(model_file(path), rows)
    assert (done.kept, done.path) == (False, path)
    assert done.original.quality == 1.0
