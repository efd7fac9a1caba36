"""The models that batching is measured on: from a product of matrices to a small transformer.

All take rows of 64 numbers, so that the same requests fit them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.serving_models import CLASSES, FEATURES, write_model, write_slow_model

_SIDE = 8
_CHANNELS = (1, 48, 64, 64)
_TOKENS, _WIDTH, _BLOCKS = 8, 96, 4
_TREES, _DEPTH, _SAMPLES = 300, 8, 3000


def write_models(folder: Path, seed: int) -> dict[str, Path]:
    """Write them all; return their files by name."""
    writers: dict[str, Callable[[Path], object]] = {
        "linear": lambda path: write_model(path, 0, seed),
        "mlp": lambda path: write_model(path, 2, seed),
        "deep": lambda path: write_slow_model(path, 3.0, seed),
        "image": lambda path: _write_image_net(path, seed),
        "forest": lambda path: _write_forest(path, seed),
        "transformer": lambda path: _write_transformer(path, seed),
    }
    files = {name: folder / f"{name}.onnx" for name in writers}
    for name, write in writers.items():
        write(files[name])
    return files


def _write_image_net(path: Path, seed: int) -> None:
    """Three convolutions over images of 8 × 8 points, and a classifier on top."""
    rng = np.random.default_rng(seed)
    shape = numpy_helper.from_array(np.array([-1, 1, _SIDE, _SIDE], dtype=np.int64), "shape")
    weights, current = [shape], "image"
    nodes = [helper.make_node("Reshape", ["X", "shape"], ["image"])]
    for layer, (before, after) in enumerate(pairwise(_CHANNELS)):
        kernel = rng.normal(size=(after, before, 3, 3)) / np.sqrt(9 * before)
        weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"k{layer}"))
        nodes.append(
            helper.make_node("Conv", [current, f"k{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1])
        )
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        current = f"r{layer}"
    last = rng.normal(size=(_CHANNELS[-1] * _SIDE**2, CLASSES)).astype(np.float32) / _SIDE
    weights.append(numpy_helper.from_array(last, "w"))
    _save_classifier(path, "image", nodes, weights, current)


def _write_transformer(path: Path, seed: int) -> None:
    """Blocks of self-attention and a feed-forward net over eight tokens; a classifier on top."""
    rng = np.random.default_rng(seed)
    shape = numpy_helper.from_array(np.array([-1, _TOKENS, _TOKENS], dtype=np.int64), "shape")
    weights, nodes = [shape], [helper.make_node("Reshape", ["X", "shape"], ["tokens"])]

    def times(value: str, name: str, rows: int, columns: int) -> str:
        matrix = (rng.normal(size=(rows, columns)) / np.sqrt(rows)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, name))
        return node("MatMul", [value, name], f"{name}_out")

    def node(kind: str, inputs: list[str], output: str, **attributes: int | Sequence[int]) -> str:
        made = helper.make_node(kind, inputs, [output])
        made.attribute.extend(helper.make_attribute(*one) for one in attributes.items())
        nodes.append(made)
        return output

    weights.append(numpy_helper.from_array(np.array(_WIDTH**-0.5, dtype=np.float32), "scale"))
    weights.append(numpy_helper.from_array(np.ones(_WIDTH, dtype=np.float32), "ones"))
    current = times("tokens", "embed", _TOKENS, _WIDTH)
    for block in range(_BLOCKS):
        q, k, v = (times(current, f"{one}{block}", _WIDTH, _WIDTH) for one in "qkv")
        turned = node("Transpose", [k], f"turned{block}", perm=[0, 2, 1])
        alike = node("Mul", [node("MatMul", [q, turned], f"qk{block}"), "scale"], f"alike{block}")
        weighed = node("Softmax", [alike], f"weighed{block}", axis=-1)
        seen = times(node("MatMul", [weighed, v], f"seen{block}"), f"o{block}", _WIDTH, _WIDTH)
        current = node("Add", [current, seen], f"attended{block}")
        current = node("LayerNormalization", [current, "ones"], f"normed{block}", axis=-1)
        wide = node("Relu", [times(current, f"up{block}", _WIDTH, 4 * _WIDTH)], f"wide{block}")
        current = node(
            "Add", [current, times(wide, f"down{block}", 4 * _WIDTH, _WIDTH)], f"b{block}"
        )
    last = rng.normal(size=(_TOKENS * _WIDTH, CLASSES)).astype(np.float32) / _WIDTH
    weights.append(numpy_helper.from_array(last, "w"))
    _save_classifier(path, "transformer", nodes, weights, current)


def _save_classifier(
    path: Path,
    name: str,
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    current: str,
) -> None:
    """Save a graph whose last value is flattened and multiplied by `w`."""
    nodes.append(helper.make_node("Flatten", [current], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "w"], ["scores"]))
    nodes.append(helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0))
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, FEATURES])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, CLASSES]),
        ],
        weights,
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def _write_forest(path: Path, seed: int) -> None:
    """A random forest, exported from scikit-learn."""
    # Heavy, and only for this model.
    from skl2onnx import to_onnx  # noqa: PLC0415
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(_SAMPLES, FEATURES)).astype(np.float32)
    labels = rows[:, :CLASSES].argmax(axis=1)
    forest = RandomForestClassifier(_TREES, max_depth=_DEPTH, random_state=seed).fit(rows, labels)
    exported = to_onnx(forest, rows[:1], options={"zipmap": False}, target_opset=18)
    path.write_bytes(exported.SerializeToString())
