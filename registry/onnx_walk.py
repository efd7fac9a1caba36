"""A walk through the bytes of an ONNX model: what it needs, takes and gives, or why it is refused.

Field numbers are those of onnx.proto (github.com/onnx/onnx). Fields that do not matter here, the
weights above all, are stepped over. Where protobuf would merge a part that stands twice, the file
is refused, so nothing is read differently here than by the library that loads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from registry.protobuf import BYTES, BadWire, Field, fields
from registry.records import ModelSchema, TensorSpec

ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})

# Runs compiled code that stands in another file, whatever that is.
_FORBIDDEN_OPS = frozenset({"EPContext"})
_MAX_DEPTH = 32
_MAX_NAME = 4096
_EVERY = range(1, 2**29)
# TensorProto.DataType by number, for those that NumPy can hold.
_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "str",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}
_MODEL_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
_MODEL_IR, _MODEL_GRAPH, _MODEL_OPSET, _MODEL_TRAINING, _MODEL_FUNCTION = 1, 7, 8, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SPARSE = 1, 5, 11, 12, 15
_NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 8, 13, 14
_SPARSE_TENSORS = (1, 2)
_FUNCTION_NODE, _FUNCTION_OPSET, _FUNCTION_DOMAIN, _FUNCTION_ATTRIBUTE = 7, 9, 10, 11
_OPSET_DOMAIN = 1
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR, _TENSOR_ELEMENT, _TENSOR_SHAPE = 1, 1, 2
_TYPE_KINDS = {4: "a sequence", 5: "a map", 7: "opaque", 8: "sparse", 9: "optional"}
_SHAPE_DIM, _DIM_VALUE = 1, 1


class Refusal(ValueError):
    """Why a file is not taken, to follow its name in a sentence."""


@dataclass(slots=True)
class _Found:
    """What was seen so far on the walk."""

    ir_version: int = 0
    graphs: int = 0
    opsets: int = 0
    nodes: int = 0
    inputs: list[TensorSpec] = field(default_factory=list)
    outputs: list[TensorSpec] = field(default_factory=list)
    initializers: set[str] = field(default_factory=set)


def look(data: memoryview) -> ModelSchema:
    """The inputs and outputs of a model.

    Raises:
        Refusal: it is no complete ONNX model, or one that needs more than its own bytes.
    """
    found = _Found()
    try:
        _walk_model(data, found)
    except BadWire as error:
        raise Refusal(str(error)) from error
    complete = found.graphs == 1 and found.opsets and found.nodes and found.outputs
    if not complete or not 3 <= found.ir_version < 100:
        raise Refusal("is not a complete ONNX model")
    # Before IR version 4, weights had to be listed among the inputs as well.
    given = tuple(spec for spec in found.inputs if spec.name not in found.initializers)
    return ModelSchema(given, tuple(found.outputs))


def _walk_model(data: memoryview, found: _Found) -> None:
    for item in fields(data, _EVERY):
        if item.number not in _MODEL_FIELDS:
            raise Refusal("is not ONNX")
        if item.number == _MODEL_IR:
            found.ir_version = item.value
        elif item.number == _MODEL_OPSET:
            found.opsets += 1
            _check_opset(item)
        elif item.number == _MODEL_GRAPH:
            found.graphs += 1
            _walk_main_graph(_message(item), found)
        elif item.number == _MODEL_FUNCTION:
            _walk_function(_message(item))
        elif item.number == _MODEL_TRAINING:
            raise Refusal("carries steps for training")


def _walk_main_graph(data: memoryview, found: _Found) -> None:
    for item in fields(data, (_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT)):
        if item.number == _GRAPH_NODE:
            found.nodes += 1
        elif item.number == _GRAPH_INITIALIZER:
            found.initializers.add(_name_in(_message(item), _TENSOR_NAME))
    _walk_graph(data, 0)
    for item in fields(data, (_GRAPH_INPUT, _GRAPH_OUTPUT)):
        is_input = item.number == _GRAPH_INPUT
        name = _name_in(_message(item), _VALUE_NAME)
        if is_input and name in found.initializers:
            continue
        side = found.inputs if is_input else found.outputs
        side.append(_tensor_spec(_message(item), name))


def _walk_graph(data: memoryview, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise Refusal(f"nests graphs more than {_MAX_DEPTH} deep")
    for item in fields(data, (_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE)):
        if item.number == _GRAPH_NODE:
            _walk_node(_message(item), depth)
        elif item.number == _GRAPH_INITIALIZER:
            _check_tensor(_message(item))
        else:
            _check_sparse(_message(item))


def _walk_node(data: memoryview, depth: int) -> None:
    for item in fields(data, (_NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN)):
        if item.number == _NODE_ATTRIBUTE:
            _walk_attribute(_message(item), depth)
        elif item.number == _NODE_DOMAIN:
            _check_domain(_text(item))
        elif _text(item) in _FORBIDDEN_OPS:
            raise Refusal(f"uses the operator {_text(item)}, which runs code from other files")


def _walk_attribute(data: memoryview, depth: int) -> None:
    for item in fields(data, (*_ATTRIBUTE_TENSORS, *_ATTRIBUTE_GRAPHS, *_ATTRIBUTE_SPARSE)):
        if item.number in _ATTRIBUTE_TENSORS:
            _check_tensor(_message(item))
        elif item.number in _ATTRIBUTE_GRAPHS:
            _walk_graph(_message(item), depth + 1)
        else:
            _check_sparse(_message(item))


def _walk_function(data: memoryview) -> None:
    wanted = (_FUNCTION_NODE, _FUNCTION_OPSET, _FUNCTION_DOMAIN, _FUNCTION_ATTRIBUTE)
    for item in fields(data, wanted):
        if item.number == _FUNCTION_NODE:
            _walk_node(_message(item), 1)
        elif item.number == _FUNCTION_OPSET:
            _check_opset(item)
        elif item.number == _FUNCTION_DOMAIN:
            _check_domain(_text(item))
        else:
            _walk_attribute(_message(item), 1)


def _check_opset(item: Field) -> None:
    _check_domain(_name_in(_message(item), _OPSET_DOMAIN))


def _check_domain(domain: str) -> None:
    if domain not in ALLOWED_DOMAINS:
        raise Refusal(f"needs operators of the domain {domain[:80]!r}, which are not served here")


def _check_tensor(data: memoryview) -> None:
    for item in fields(data, (_TENSOR_EXTERNAL, _TENSOR_LOCATION)):
        if item.number == _TENSOR_EXTERNAL or item.value != 0:
            raise Refusal("keeps weights in another file")


def _check_sparse(data: memoryview) -> None:
    for item in fields(data, _SPARSE_TENSORS):
        _check_tensor(_message(item))


def _tensor_spec(data: memoryview, name: str) -> TensorSpec:
    kind = _only(data, _VALUE_TYPE, f"the type of {name!r}")
    for item in fields(kind, _TYPE_KINDS):
        what = _TYPE_KINDS[item.number]
        raise Refusal(f"has {name!r}, which is {what} and not a tensor (zipmap=False may help)")
    tensor = _only(kind, _TYPE_TENSOR, f"the tensor type of {name!r}")
    element = [item.value for item in fields(tensor, (_TENSOR_ELEMENT,))]
    if len(element) != 1 or element[0] not in _DTYPES:
        raise Refusal(f"has {name!r} of an element type that NumPy lacks")
    shape = _only(tensor, _TENSOR_SHAPE, f"the shape of {name!r}")
    axes = (_axis(_message(item)) for item in fields(shape, (_SHAPE_DIM,)))
    return TensorSpec(name, _DTYPES[element[0]], tuple(axes))


def _axis(data: memoryview) -> int | None:
    # Some exporters write 0 or -1 (as 2**64 - 1) for an axis that is free.
    sizes = [item.value for item in fields(data, (_DIM_VALUE,))]
    return sizes[-1] if sizes and 0 < sizes[-1] < 2**63 else None


def _only(data: memoryview, number: int, what: str) -> memoryview:
    parts: Iterator[Field] = fields(data, (number,))
    found = [_message(item) for item in parts]
    if len(found) != 1:
        raise Refusal(f"does not say {what}")
    return found[0]


def _message(item: Field) -> memoryview:
    if item.wire != BYTES:
        raise Refusal("is not ONNX")
    return item.data


def _text(item: Field) -> str:
    data = _message(item)
    if len(data) > _MAX_NAME:
        raise Refusal("is not ONNX")
    try:
        return bytes(data).decode()
    except UnicodeDecodeError:
        raise Refusal("is not ONNX") from None


def _name_in(data: memoryview, number: int) -> str:
    names = [_text(item) for item in fields(data, (number,))]
    return names[-1] if names else ""
