"""The data path on an edge device: one model file, answered the way the big predictor answers.

`POST /predict/<model>` takes `{"inputs": …}` or a raw tensor, `GET /v2/models/<model>` says what is
served. There is no registry, ledger, split or feedback here: what is served is what was built.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import orjson

from config.errors import ConfigError
from config.settings import ServingSettings
from registry.onnx_files import inspect, open_session, sha256
from serving.replies import (
    JSON_TYPE,
    Receive,
    Refusal,
    Scope,
    Send,
    reply,
    reply_json,
    reply_refusal,
)
from serving.requests import JSON, content_type, only, parsed, read_body, tensor_headers
from serving.tensors import Feeds, InputReader

MODEL_FILE, MANIFEST_FILE = "model.onnx", "manifest.json"
_BINARY = b"application/octet-stream"


class EdgeApp:
    """Serves the model of one folder.

    Args:
        folder: holds `model.onnx` and `manifest.json`.
        settings: limits and threads.

    Raises:
        ConfigError: the folder does not hold what its manifest says.
        ModelRefused: the model does not load.
    """

    def __init__(self, folder: Path, settings: ServingSettings) -> None:
        path = folder / MODEL_FILE
        try:
            told = json.loads((folder / MANIFEST_FILE).read_text())
            self.model, self.version = str(told["model"]), int(told["version"])
            digest = str(told["digest"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{folder} holds no usable {MANIFEST_FILE}: {error}") from error
        schema = inspect(path)
        if sha256(path) != digest:
            raise ConfigError(f"{path} is not the file that {MANIFEST_FILE} names; build it again")
        self._session = open_session(path, settings.intra_op_threads)
        self._reader = InputReader(schema, settings.max_rows)
        self._names = [spec.name for spec in schema.outputs]
        self._max_body = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        try:
            await self._answer(scope, receive, send)
        except Refusal as refusal:
            await reply_refusal(send, refusal)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == f"/predict/{self.model}":
            only(scope, "POST")
            body = await read_body(receive, scope, self._max_body)
            outputs = await asyncio.to_thread(self._run, self._feeds(scope, body))
            await reply(send, 200, outputs, (JSON_TYPE,))
        elif path == f"/v2/models/{self.model}":
            only(scope, "GET")
            served = {
                "name": self.model,
                "versions": [str(self.version)],
                "platform": "onnx_onnxv1",
            }
            await reply_json(send, 200, served)
        else:
            raise Refusal(404, f"nothing is at {path[:100]!r}; this device serves {self.model}")

    def _feeds(self, scope: Scope, body: bytes) -> Feeds:
        kind, _ = content_type(scope["headers"])
        if kind == JSON:
            return self._reader.from_json(parsed(body).get("inputs"))[0]
        if kind == _BINARY:
            return self._reader.from_bytes(body, *tensor_headers(scope["headers"]))[0]
        raise Refusal(415, "send application/json or application/octet-stream")

    def _run(self, feeds: Feeds) -> bytes:
        try:
            outputs = self._session.run(self._names, feeds)
        except Exception as error:
            # onnxruntime's errors share no base class.
            raise Refusal(422, f"the model failed on these inputs: {str(error)[:200]}") from error
        values = {
            name: value.tolist() if value.dtype.kind == "O" else np.ascontiguousarray(value)
            for name, value in zip(self._names, outputs, strict=True)
        }
        body = {"model": self.model, "version": self.version, "outputs": values}
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
