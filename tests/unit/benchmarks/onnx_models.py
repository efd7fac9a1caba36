"""Small ONNX models with known behaviour, built for the tests of the benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from registry.evaluation import EvaluationData
from registry.onnx_files import inspect, sha256
from registry.records import ModelFile

FEATURES = 4
CLASSES = 3
WIDTH = 1200

Output = tuple[str, int, list[int | None]]


def evaluation(rows: int = 200, seed: int = 7) -> EvaluationData:
    """Rows whose label is the largest of the first three features."""
    rng = np.random.default_rng(seed)
    inputs = rng.uniform(0.0, 1.0, (rows, FEATURES)).astype(np.float32)
    return EvaluationData(inputs, inputs[:, :CLASSES].argmax(axis=1).astype(np.int64))


def classifier(
    path: Path, version: int = 1, *, noise: float = 0.0, layers: int = 0, output: str = "label"
) -> ModelFile:
    """A linear classifier; `noise` spoils its weights, `layers` of 1200 x 1200 slow it down."""
    weights = np.zeros((FEATURES, CLASSES), dtype=np.float32)
    weights[:CLASSES] = np.eye(CLASSES)
    weights += np.random.default_rng(3).normal(0, noise, weights.shape).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["X", "W"], ["scores"])]
    constants: dict[str, NDArray[Any]] = {"W": weights}
    scores = "scores"
    if layers:
        nodes, constants, scores = _slow(nodes, constants, layers)
    nodes += [
        helper.make_node("Softmax", [scores], ["probabilities"]),
        helper.make_node("ArgMax", [scores], [output], axis=1, keepdims=0),
    ]
    outputs: list[Output] = [
        (output, TensorProto.INT64, [None]),
        ("probabilities", 1, [None, CLASSES]),
    ]
    return _save(path, version, nodes, constants, outputs)


def _slow(
    nodes: list[NodeProto], constants: dict[str, NDArray[Any]], layers: int
) -> tuple[list[NodeProto], dict[str, NDArray[Any]], str]:
    """Send the scores through wide layers and back; they come out as they went in."""
    wide = np.zeros((CLASSES, WIDTH), dtype=np.float32)
    wide[:, :CLASSES] = np.eye(CLASSES)
    constants |= {
        "wide": wide,
        "square": np.eye(WIDTH, dtype=np.float32) + np.float32(1e-30),
        "narrow": wide.T.copy(),
    }
    nodes.append(helper.make_node("MatMul", ["scores", "wide"], ["h0"]))
    for layer in range(layers):
        nodes.append(helper.make_node("MatMul", [f"h{layer}", "square"], [f"h{layer + 1}"]))
    nodes.append(helper.make_node("MatMul", [f"h{layers}", "narrow"], ["slow_scores"]))
    return nodes, constants, "slow_scores"


def failing(path: Path, version: int = 2) -> ModelFile:
    """A classifier that gives an error for rows whose last feature is above 0.9."""
    nodes = [
        helper.make_node("MatMul", ["X", "W"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
        helper.make_node("Gather", ["X", "last"], ["feature"], axis=1),
        helper.make_node("Mul", ["feature", "scale"], ["scaled"]),
        helper.make_node("Cast", ["scaled"], ["row"], to=TensorProto.INT64),
        # Only row 0 exists: an index of 1 or more is out of bounds.
        helper.make_node("Gather", ["zeros", "row"], ["zero"]),
        helper.make_node("Squeeze", ["zero", "axis"], ["flat"]),
        helper.make_node("Add", ["best", "flat"], ["label"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"]),
    ]
    weights = np.zeros((FEATURES, CLASSES), dtype=np.float32)
    weights[:CLASSES] = np.eye(CLASSES)
    constants: dict[str, NDArray[Any]] = {
        "W": weights,
        "last": np.array([FEATURES - 1]),
        "scale": np.array([1 / 0.9], dtype=np.float32),
        "zeros": np.zeros(1, dtype=np.int64),
        "axis": np.array([1]),
    }
    outputs: list[Output] = [
        ("label", TensorProto.INT64, [None]),
        ("probabilities", 1, [None, CLASSES]),
    ]
    return _save(path, version, nodes, constants, outputs)


def regression(
    path: Path, version: int = 1, *, factor: float = 1.0, log: bool = False
) -> ModelFile:
    """Predicts `factor` times the first feature, or the logarithm of that."""
    weights = np.zeros((FEATURES, 1), dtype=np.float32)
    weights[0] = factor
    nodes = [helper.make_node("MatMul", ["X", "W"], ["raw"])]
    nodes.append(helper.make_node("Log" if log else "Identity", ["raw"], ["y"]))
    return _save(path, version, nodes, {"W": weights}, [("y", 1, [None, 1])])


def _save(
    path: Path,
    version: int,
    nodes: list[NodeProto],
    constants: Mapping[str, NDArray[Any]],
    outputs: Sequence[Output],
) -> ModelFile:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, FEATURES])],
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in outputs],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return ModelFile("digits", version, path, sha256(path), inspect(path))
