"""Small ONNX models made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def linear_model(
    *, rows: int | None = None, features: int = 4, seed: int = 0, domain: str = ""
) -> onnx.ModelProto:
    """A model that multiplies rows by a matrix: inputs X, outputs Y."""
    weights = np.random.default_rng(seed).normal(size=(features, 3)).astype(np.float32)
    node = helper.make_node("MatMul", ["X", "W"], ["Y"], domain=domain)
    graph = helper.make_graph(
        [node],
        "linear",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [rows, features])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [rows, 3])],
        [numpy_helper.from_array(weights, "W")],
    )
    opsets = [helper.make_opsetid("", 17)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def write_model(path: Path, model: onnx.ModelProto | None = None) -> Path:
    """Write a model to a file."""
    path.write_bytes((model or linear_model()).SerializeToString())
    return path
