"""The data path: a plain ASGI application, with nothing between the server and the model.

It keeps no context object per request and leaves no reference cycles behind, so the garbage
collector has nothing to do while requests come in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter

import numpy as np
import orjson

from config.errors import DeadlineExceeded, UnavailableError
from config.settings import ServingSettings
from serving import inference_v2, openapi, pages
from serving.batches import Outputs
from serving.feedback import FeedbackDesk
from serving.loaded import LoadedModel
from serving.replies import (
    JSON_TYPE,
    METRICS_TYPE,
    ASGIApp,
    Receive,
    Refusal,
    Scope,
    Send,
    later,
    reply,
    reply_json,
    reply_refusal,
)
from serving.requests import (
    JSON,
    content_type,
    only,
    parsed,
    read_body,
    sticky_key,
    tensor_headers,
)
from serving.scoring import Scorer

_log = logging.getLogger("prime_spark.serving")

_PREDICT = "/predict/"


class PredictorApp:
    """Routes of one worker: predict, feedback, the Open Inference Protocol, metrics, status."""

    def __init__(
        self,
        scorer: Scorer,
        desk: FeedbackDesk,
        settings: ServingSettings,
        metrics: Callable[[], bytes],
    ) -> None:
        self._scorer = scorer
        self._state = scorer.state
        self._desk = desk
        self._settings = settings
        self._max_body = settings.max_body_bytes
        self._metrics = metrics
        self._pages: dict[str, tuple[str, ASGIApp]] = {
            "/feedback": ("POST", self._feedback),
            "/metrics": ("GET", self._show_metrics),
            "/models": ("GET", self._show_models),
            "/openapi.json": ("GET", self._show_openapi),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        try:
            path: str = scope["path"]
            if path.startswith(_PREDICT):
                await self._predict(scope, receive, send)
            elif path == "/v2" or path.startswith("/v2/"):
                await self._inference_v2(scope, receive, send)
            else:
                await self._page(scope, receive, send)
        except Refusal as refusal:
            self._count(refusal.status)
            await reply_refusal(send, refusal)
        except Exception as error:  # noqa: BLE001 - the border: no request goes unanswered
            answer = _refusal_for(error)
            self._count(answer.status)
            await reply_refusal(send, answer)

    def _count(self, status: int) -> None:
        refused = self._state.totals.refused
        refused[status] = refused.get(status, 0) + 1

    # -- predict ---------------------------------------------------------------------------------

    async def _predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        only(scope, "POST")
        plan = self._scorer.plan(scope["path"][len(_PREDICT) :])
        body = await read_body(receive, scope, self._max_body)
        kind, key = content_type(scope["headers"])
        reader = plan.champion.loaded.reader
        if kind == JSON:
            value = parsed(body)
            feeds, rows = reader.from_json(value.get("inputs"))
            key = sticky_key(value.get("key")) or key
        elif kind == b"application/octet-stream":
            dtype, shape = tensor_headers(scope["headers"])
            feeds, rows = reader.from_bytes(body, dtype, shape)
        else:
            raise Refusal(415, "send application/json or application/octet-stream")
        arm, request_id, outputs = await self._scorer.score(plan, key, feeds, rows, began)
        content = b"".join(
            (
                arm.head,
                request_id.encode(),
                b'","outputs":',
                _dumped(arm.loaded, outputs),
                b"}",
            )
        )
        # What `reply` does, without another coroutine on the hot path.
        length = (b"content-length", b"%d" % len(content))
        await send({"type": "http.response.start", "status": 200, "headers": (JSON_TYPE, length)})
        await send({"type": "http.response.body", "body": content})

    # -- the rest --------------------------------------------------------------------------------

    async def _inference_v2(self, scope: Scope, receive: Receive, send: Send) -> None:
        await inference_v2.answer(self._scorer, self._max_body, scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._pages.get(scope["path"])
        if found is None:
            raise Refusal(404, f"nothing is at {scope['path'][:100]!r}; see /openapi.json")
        method, handler = found
        only(scope, method)
        await handler(scope, receive, send)

    async def _feedback(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, scope, self._max_body)
        kind, _ = content_type(scope["headers"])
        if kind != JSON:
            raise Refusal(415, "send feedback as application/json")
        result = await self._desk.take(parsed(body))
        some = result.accepted + result.duplicate > 0
        value = result.body()
        if not some:
            value["error"] = "no item could be counted; see reasons"
        await reply_json(send, 200 if some else 422, value)

    async def _show_metrics(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await reply(send, 200, self._metrics(), (METRICS_TYPE,))

    async def _show_models(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await reply_json(send, 200, pages.models(self._state))

    async def _show_openapi(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await reply(
            send, 200, openapi.document(self._settings, sorted(self._state.plans)), (JSON_TYPE,)
        )


def _dumped(loaded: LoadedModel, outputs: Outputs) -> bytes:
    """Return outputs as a JSON object of nested lists; NaN and infinity become null."""
    values = {
        name: array.tolist() if array.dtype.kind == "O" else array
        for name, array in zip(loaded.output_names, outputs, strict=True)
    }
    try:
        return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    except (orjson.JSONEncodeError, TypeError):
        return orjson.dumps(values, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"a model answered with {type(value).__name__}, which JSON cannot carry")


def _refusal_for(error: Exception) -> Refusal:
    if isinstance(error, DeadlineExceeded):
        return Refusal(504, str(error))
    if isinstance(error, UnavailableError):
        return later(str(error), error.retry_after_s)
    _log.error("a request failed", exc_info=error)
    return Refusal(500, "the predictor met an error of its own; see its log")
