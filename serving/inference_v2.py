"""The Open Inference Protocol (version 2, HTTP/REST) on the same plans.

Taken: server and model health, metadata, and `infer` with JSON tensors, also below
`/versions/{version}` for the versions that are served now. Not taken: the binary tensor extension,
and choosing a version for `infer` that is not the one the split gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from time import perf_counter

import numpy as np
import orjson

from registry.records import ModelSchema, TensorSpec
from serving.batches import Outputs
from serving.plans import Arm, Plan
from serving.replies import Receive, Refusal, Scope, Send, reply, reply_json
from serving.requests import KEY_HEADER, KEY_LENGTH, only, parsed, read_body, sticky_key
from serving.scoring import Scorer
from serving.tensors import Tensor, numpy_type

_DATATYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "object",
}
_NAMES = {dtype: name for name, dtype in _DATATYPES.items()}
_BINARY_HEADER = b"inference-header-content-length"
_MODELS = "/v2/models/"


async def answer(scorer: Scorer, max_body: int, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request below /v2.

    Raises:
        Refusal: with the status and sentence of the error.
    """
    path: str = scope["path"].rstrip("/")
    if path.startswith(_MODELS):
        model, _, rest = path[len(_MODELS) :].partition("/")
        await _model(scorer, max_body, (model, rest), scope, receive, send)
        return
    only(scope, "GET")
    if path == "/v2":
        await reply_json(send, 200, _SERVER)
    elif path == "/v2/health/live":
        await reply_json(send, 200, {"live": True})
    elif path == "/v2/health/ready":
        await _ready(scorer, send)
    else:
        raise Refusal(404, f"nothing is at {path[:100]!r}; see /openapi.json")


def _release() -> str:
    try:
        return installed("prime-spark")
    except PackageNotFoundError:  # inside a bento the sources stand alone
        return "unknown"


_SERVER = {"name": "prime-spark", "version": _release(), "extensions": []}


async def _ready(scorer: Scorer, send: Send) -> None:
    state = scorer.state
    detail = {"ready": state.ready, "problems": state.problems, "stale": state.stale}
    await reply_json(send, 200 if state.ready else 503, detail)


async def _model(
    scorer: Scorer,
    max_body: int,
    target: tuple[str, str],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    model, rest = target
    plan = scorer.plan(model)
    rest = _without_version(plan, rest)
    if rest == "infer":
        only(scope, "POST")
        began = perf_counter()
        body = await read_body(receive, scope, max_body)
        content = await _infer(scorer, plan, (scope, parsed(body)), began)
        await reply(send, 200, content)
        return
    only(scope, "GET")
    if rest == "":
        await reply_json(send, 200, _metadata(model, plan))
    elif rest == "ready":
        await reply_json(send, 200, {"name": model, "ready": True})
    else:
        raise Refusal(404, f"a model has no {rest[:100]!r}; it has ready and infer")


def _without_version(plan: Plan, rest: str) -> str:
    """Take `versions/{version}` off the path, if that version is served now."""
    head, _, tail = rest.partition("/")
    if head != "versions":
        return rest
    number, _, tail = tail.partition("/")
    served = sorted({arm.version_text for arm in plan.arms})
    if number not in served:
        raise Refusal(404, f"version {number[:40]!r} is not served; served: {', '.join(served)}")
    if tail == "infer" and (number != plan.champion.version_text or plan.challenger is not None):
        raise Refusal(
            404, "the split chooses the version; send the request to the model without a version"
        )
    return tail


def _metadata(model: str, plan: Plan) -> dict[str, object]:
    schema = plan.champion.loaded.file.schema
    return {
        "name": model,
        "versions": sorted({arm.version_text for arm in plan.arms}, key=int),
        "platform": "onnx_onnxv1",
        "inputs": [_tensor(spec) for spec in schema.inputs],
        "outputs": [_tensor(spec) for spec in schema.outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, object]:
    shape = [-1 if axis is None else axis for axis in spec.shape]
    return {"name": spec.name, "datatype": _NAMES[numpy_type(spec).name], "shape": shape}


async def _infer(
    scorer: Scorer, plan: Plan, request: tuple[Scope, dict[str, object]], began: float
) -> bytes:
    scope, value = request
    key = b""
    for name, header in scope["headers"]:
        if name == _BINARY_HEADER:
            raise Refusal(415, "the binary tensor extension is not taken here; send JSON data")
        if name == KEY_HEADER:
            key = header[:KEY_LENGTH]
    identity, parameters = value.get("id"), value.get("parameters")
    if identity is not None and not isinstance(identity, str):
        raise Refusal(422, "id must be a text")
    if isinstance(parameters, Mapping):
        key = sticky_key(parameters.get("key")) or key
    schema = plan.champion.loaded.file.schema
    names = _outputs_asked(value.get("outputs"), schema)
    feeds, rows = plan.champion.loaded.reader.from_named(_inputs(value.get("inputs")))
    arm, request_id, outputs = await scorer.score(plan, key, feeds, rows, began)
    return _answer(arm, (request_id, identity), outputs, names)


def _inputs(raw: object) -> dict[str, Tensor]:
    if not isinstance(raw, list) or not raw:
        raise Refusal(422, "inputs must be a list of tensors with name, shape, datatype and data")
    found = dict(_input(one) for one in raw)
    if len(found) != len(raw):
        raise Refusal(422, "two inputs have the same name")
    return found


def _input(raw: object) -> tuple[str, Tensor]:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("name"), str):
        raise Refusal(422, "an input is an object with name, shape, datatype and data")
    name: str = raw["name"]
    shape, datatype, data = raw.get("shape"), raw.get("datatype"), raw.get("data")
    if not isinstance(datatype, str) or datatype not in _DATATYPES:
        known = ", ".join(_DATATYPES)
        raise Refusal(422, f"input {name[:60]!r}: datatype must be one of {known}")
    if not isinstance(shape, list) or not all(_is_axis(axis) for axis in shape):
        raise Refusal(422, f"input {name[:60]!r}: shape must be a list of whole numbers")
    try:
        flat = np.array(data).reshape(-1)
        return name, flat.reshape(shape)
    except (ValueError, TypeError, OverflowError):
        raise Refusal(422, f"input {name[:60]!r}: data does not fill shape {shape[:8]}") from None


def _is_axis(axis: object) -> bool:
    return isinstance(axis, int) and not isinstance(axis, bool) and 0 <= axis <= 2**31


def _outputs_asked(raw: object, schema: ModelSchema) -> frozenset[str]:
    names = [spec.name for spec in schema.outputs]
    if raw is None or raw == []:
        return frozenset(names)
    if not isinstance(raw, list):
        raise Refusal(422, "outputs must be a list of objects with a name")
    asked = [one.get("name") if isinstance(one, Mapping) else None for one in raw]
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise Refusal(422, f"outputs: the model has {', '.join(names)}, not {str(unknown[0])[:60]}")
    return frozenset(str(name) for name in asked)


def _answer(
    arm: Arm, ids: tuple[str, str | None], outputs: Outputs, names: frozenset[str]
) -> bytes:
    request_id, identity = ids
    tensors = [
        {
            "name": name,
            "datatype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data": array.ravel().tolist(),
        }
        for name, array in zip(arm.loaded.output_names, outputs, strict=True)
        if name in names
    ]
    value = {
        "model_name": arm.tally.model,
        "model_version": arm.version_text,
        "id": identity if identity is not None else request_id,
        "parameters": {"request_id": request_id, "variant": arm.variant.value},
        "outputs": tensors,
    }
    return orjson.dumps(value)
