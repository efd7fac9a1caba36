"""Rival: plain Starlette and ONNX Runtime, written as its documentation would have it, but fast.

It parses and answers with orjson, runs the model on the event loop, and checks nothing.
`RIVAL_MODELS` names the files as `name=path,name=path`.
"""

from __future__ import annotations

import os

import numpy as np
import onnxruntime as ort
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def _session(path: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


_NAMED = [pair.split("=", 1) for pair in os.environ["RIVAL_MODELS"].split(",")]
_SESSIONS = {name: _session(path) for name, path in _NAMED}
_INPUTS = {name: session.get_inputs()[0].name for name, session in _SESSIONS.items()}
_OUTPUTS = {
    name: [out.name for out in session.get_outputs()] for name, session in _SESSIONS.items()
}


async def predict(request: Request) -> Response:
    """Answer one request."""
    model = request.path_params["model"]
    body = orjson.loads(await request.body())
    rows = np.asarray(body["inputs"], dtype=np.float32)
    outputs = _SESSIONS[model].run(_OUTPUTS[model], {_INPUTS[model]: rows})
    content = orjson.dumps(
        {"outputs": dict(zip(_OUTPUTS[model], outputs, strict=True))},
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
    return Response(content, media_type="application/json")


async def ready(_request: Request) -> Response:
    """Tell that the server runs."""
    return Response(b"")


app = Starlette(
    routes=[
        Route("/predict/{model}", predict, methods=["POST"]),
        Route("/ready", ready),
    ]
)
