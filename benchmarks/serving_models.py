"""The models the serving benchmark serves: a light one, and one that takes a millisecond a row."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FEATURES = 64
CLASSES = 10
_WIDTH = 1024
_MOST_LAYERS = 40
_TIMED_RUNS = 25


def _dense(rng: np.random.Generator, rows: int, columns: int, name: str) -> onnx.TensorProto:
    values = rng.normal(size=(rows, columns)) / np.sqrt(rows)
    return numpy_helper.from_array(values.astype(np.float32), name)


def write_model(path: Path, layers: int, seed: int) -> None:
    """Write a classifier of 64 features and 10 classes with `layers` hidden layers of 1024."""
    rng = np.random.default_rng(seed)
    nodes, weights = [], []
    current, width = "X", FEATURES
    for layer in range(layers):
        weights.append(_dense(rng, width, _WIDTH, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [current, f"w{layer}"], [f"m{layer}"]))
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [f"r{layer}"]))
        current, width = f"r{layer}", _WIDTH
    weights.append(_dense(rng, width, CLASSES, "w"))
    nodes.append(helper.make_node("MatMul", [current, "w"], ["scores"]))
    nodes.append(helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1))
    nodes.append(helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, FEATURES])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, CLASSES]),
        ],
        weights,
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def run_ms(path: Path) -> float:
    """Return the median milliseconds of a one-row run on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    row: NDArray[np.float32] = np.ones((1, FEATURES), dtype=np.float32)
    times: list[float] = []
    for _ in range(_TIMED_RUNS):
        began = time.perf_counter()
        session.run(None, {"X": row})
        times.append((time.perf_counter() - began) * 1000.0)
    return float(np.median(times))


def write_slow_model(path: Path, wanted_ms: float, seed: int) -> float:
    """Write a model whose one-row run takes about `wanted_ms`; return what it takes."""
    layers = 4
    write_model(path, layers, seed)
    for _ in range(4):
        found = run_ms(path)
        better = min(_MOST_LAYERS, max(2, round(layers * wanted_ms / found)))
        if better == layers:
            break
        layers = better
        write_model(path, layers, seed)
    return run_ms(path)
