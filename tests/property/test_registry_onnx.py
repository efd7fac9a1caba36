"""The look into ONNX bytes sees what the onnx library sees, whatever the model's shape."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from config.errors import ModelRefused
from registry.onnx_files import inspect
from registry.onnx_walk import Refusal, look
from registry.records import ModelSchema

_TYPES = (TensorProto.FLOAT, TensorProto.INT64, TensorProto.DOUBLE, TensorProto.STRING)
_NAMES = st.text(min_size=1, max_size=12).filter(lambda s: s.isprintable() and s != "W")
_AXES = st.lists(st.one_of(st.none(), st.integers(1, 2**40), st.just("batch")), max_size=4)


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    """A well-formed model message; its graph need not make sense."""
    names = draw(st.lists(_NAMES, min_size=2, max_size=6, unique=True))
    cut = draw(st.integers(1, len(names) - 1))
    values = [
        helper.make_tensor_value_info(name, draw(st.sampled_from(_TYPES)), draw(_AXES))
        for name in names
    ]
    node = helper.make_node(
        "Op",
        names[:cut],
        names[cut:],
        floats=draw(st.lists(st.floats(width=32), max_size=5)) or [1.0],
        ints=draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5)) or [1],
        strings=draw(st.lists(st.text(max_size=5), max_size=3)) or ["a"],
    )
    weights = numpy_helper.from_array(np.arange(draw(st.integers(0, 9)), dtype=np.float32), "W")
    graph = helper.make_graph([node], "g", values[:cut], values[cut:], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _by_library(model: onnx.ModelProto) -> list[tuple[str, tuple[int | None, ...]]]:
    return [
        (
            value.name,
            tuple(
                dim.dim_value if dim.HasField("dim_value") else None
                for dim in value.type.tensor_type.shape.dim
            ),
        )
        for value in (*model.graph.input, *model.graph.output)
    ]


@given(models())
def test_sees_what_the_library_sees(model: onnx.ModelProto) -> None:
    schema = look(memoryview(model.SerializeToString()))
    found = [(spec.name, spec.shape) for spec in (*schema.inputs, *schema.outputs)]
    assert found == _by_library(model)
    assert ModelSchema.from_json(schema.to_json()) == schema


@given(models(), st.data())
def test_weights_elsewhere_are_found_wherever_they_stand(
    model: onnx.ModelProto, data: st.DataObject
) -> None:
    place = data.draw(st.sampled_from(["initializer", "attribute", "tensors", "sparse"]))
    node = model.graph.node[0]
    if place == "initializer":
        tensor = model.graph.initializer[0]
    elif place == "attribute":
        tensor = node.attribute.add(name="t", type=4).t
    elif place == "tensors":
        tensor = node.attribute.add(name="t", type=9).tensors.add()
    else:
        tensor = model.graph.sparse_initializer.add().values
    tensor.external_data.add(key="location", value="elsewhere")
    with pytest.raises(Refusal, match="another file"):
        look(memoryview(model.SerializeToString()))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_read_but_never_raise_otherwise(content: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        path = Path(file.name)
        path.write_bytes(content)
        with contextlib.suppress(ModelRefused):
            inspect(path)
