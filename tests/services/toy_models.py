"""Small real classifiers as ONNX files: right as often as wanted, with data to prove it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from optimizers.models.retraining import Trained
from registry.evaluation import EvaluationData
from registry.onnx_files import inspect, sha256
from registry.records import ModelFile

FEATURES, CLASSES, ROWS = 4, 3, 400
BY_NOW = 6
"""The seed of the net that is right about live traffic, after the world has changed."""


def evaluation(seed: int = 3) -> EvaluationData:
    """Rows and the labels that the noiseless model gives them."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    return EvaluationData(rows, (rows @ _weights()).argmax(axis=1).astype(np.int64))


def classifier(path: Path, noise: float) -> Path:
    """Write a linear classifier whose weights are off by `noise`; 0 is always right."""
    off = np.random.default_rng(1).normal(size=(FEATURES, CLASSES)).astype(np.float32)
    weights = numpy_helper.from_array(_weights() + np.float32(noise) * off, "w")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["scores"]),
            helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        ],
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, FEATURES])],
        [helper.make_tensor_value_info("label", TensorProto.INT64, [None])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


def _weights() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    weights: np.ndarray[tuple[int, int], np.dtype[np.float32]] = (
        np.random.default_rng(0).normal(size=(FEATURES, CLASSES)).astype(np.float32)
    )
    return weights


def retrain(_model: str, folder: Path, reason: str) -> Trained:
    """Training code as a user would write it."""
    return Trained(classifier(folder / "new.onnx", 0.0), evaluation(), {}, reason)


def retrain_network(_model: str, folder: Path, reason: str) -> Trained:
    """Training that has learned how things are by now: another net, with rows to prove it."""
    path, rows = network(folder / "new.onnx", BY_NOW)
    return Trained(path, rows, {}, reason)


def network(path: Path, seed: int = 5) -> tuple[Path, EvaluationData]:
    """Write a net that is worth quantising; return it with rows it is right about."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(64, 128)).astype(np.float32)
    second = rng.normal(size=(128, 10)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("MatMul", ["active", "second"], ["scores"]),
            helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        ],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 64])],
        [helper.make_tensor_value_info("label", TensorProto.INT64, [None])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    rows = rng.normal(size=(ROWS, 64)).astype(np.float32)
    labels = (np.maximum(rows @ first, 0) @ second).argmax(axis=1).astype(np.int64)
    return path, EvaluationData(rows, labels)


def model_file(path: Path, model: str = "toy", version: int = 1) -> ModelFile:
    """A file on disk as a registered version."""
    return ModelFile(model, version, path, sha256(path), inspect(path))
