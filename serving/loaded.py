"""One model version in memory: its session, its way in, its cache, and what its answers say."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import onnxruntime
import orjson

from config.settings import ServingSettings
from registry.onnx_files import open_session
from registry.records import ModelFile, ModelSchema, TensorSpec
from serving.batcher import Batcher, CostModel, Crowd
from serving.batches import Outputs, RunModel
from serving.cache import PredictionCache
from serving.knobs import Knobs, SessionOptions
from serving.request_ids import LABEL_BYTES
from serving.tensors import Feeds, InputReader, Tensor, numpy_type

_WARM_RUNS = 3
_WARM_ROWS = 8
_MEGABYTE = 1024 * 1024
# Predictions of more rows than this do not fit a request id: not even looked at.
_MOST_ROWS_IN_ID = 64


@dataclass(frozen=True, slots=True)
class WarmModel:
    """A session that has run, and what a run costs; made on a thread beside the event loop."""

    file: ModelFile
    session: onnxruntime.InferenceSession
    cost: CostModel
    options: SessionOptions
    file_bytes: int


def warm_up(file: ModelFile, options: SessionOptions) -> WarmModel:
    """Open a model file and run it on zeros, so that the first request meets a warm model.

    Raises:
        ModelRefused: the file does not load. A model that loads but fails on zeros is accepted:
            zeros may be outside of what it takes, and its errors are counted when they come.
    """
    session = open_session(file.path, options.threads, spinning=options.spinning)
    size = file.path.stat().st_size
    fixed = _timed(session, file.schema, 1)
    if not file.schema.batchable:
        return WarmModel(file, session, CostModel(fixed, 0.0), options, size)
    joined = _timed(session, file.schema, _WARM_ROWS)
    per_row = max(0.0, (joined - fixed) / (_WARM_ROWS - 1))
    cost = CostModel(max(fixed - per_row, 1e-6), per_row)
    return WarmModel(file, session, cost, options, size)


def _timed(session: onnxruntime.InferenceSession, schema: ModelSchema, rows: int) -> float:
    """Return the shortest seconds of a few runs on zeros."""
    feeds = {spec.name: _zeros(spec, rows) for spec in schema.inputs}
    best = 1.0
    for _ in range(_WARM_RUNS):
        began = time.perf_counter()
        try:
            session.run(None, feeds)
        except Exception:  # noqa: BLE001 - see `warm_up`: failing on zeros says nothing
            return 1e-4
        best = min(best, time.perf_counter() - began)
    return best


def _zeros(spec: TensorSpec, rows: int) -> Tensor:
    dtype = numpy_type(spec)
    free = [rows if place == 0 else 1 for place in range(len(spec.shape))]
    shape = [free[place] if axis is None else axis for place, axis in enumerate(spec.shape)]
    return np.full(shape, "" if dtype.kind == "O" else 0, dtype=dtype)


class LoadedModel:
    """A version that can answer; made and used on the event loop.

    The last reference to it frees the session: plans hold one, and so does each request it is
    answering. It may be put to sleep: session and cache go, and everything else stays, so requests
    are checked as before and wait for the session to come back.

    Attributes:
        used_at: when its last request was answered, or when it was made; `time.perf_counter`.
        options: what its session was made with.
    """

    __slots__ = (
        "__weakref__",
        "_run",
        "batcher",
        "cache",
        "file",
        "file_bytes",
        "knobs",
        "options",
        "output_names",
        "predictions_of",
        "reader",
        "used_at",
        "version",
    )

    def __init__(
        self, warm: WarmModel, settings: ServingSettings, executor: Executor, crowd: Crowd
    ) -> None:
        self.file = warm.file
        self.file_bytes = warm.file_bytes
        self.version = warm.file.version
        self.knobs = Knobs.of(settings)
        self.reader = InputReader(warm.file.schema, settings.max_rows)
        self.cache = PredictionCache(self.knobs, round(settings.cache_max_mb * _MEGABYTE))
        self.output_names = [spec.name for spec in warm.file.schema.outputs]
        self.predictions_of = predictions_of(warm.file.schema)
        self.options = warm.options
        self.used_at = time.perf_counter()
        self._run: RunModel | None = _runner(warm.session, self.output_names)
        self.batcher = Batcher(
            self._run,
            warm.cost,
            self.knobs,
            batchable=warm.file.schema.batchable,
            executor=executor,
            timeout_s=settings.request_timeout_seconds,
            crowd=crowd,
        )

    @property
    def asleep(self) -> bool:
        """True while there is no session."""
        return self._run is None

    @property
    def runner(self) -> RunModel | None:
        """What runs the model, past queue and cache; whoever holds it holds the session."""
        return self._run

    def sleep(self, wake: Callable[[], None]) -> list[object]:
        """Let go of session and cache; return them, to be freed wherever there is time for it.

        Its batcher has to be resting. `wake` is called by each request that then waits.
        """
        held: list[object] = [self._run, self.cache.drop()]
        self._run = None
        self.batcher.sleep(wake)
        return held

    def use(self, warm: WarmModel) -> list[object]:
        """Answer with this session from the next run on; return what was used before."""
        before = self._run
        self._run = _runner(warm.session, self.output_names)
        self.options = warm.options
        self.batcher.use(self._run, warm.cost)
        return [before]

    async def through_cache(self, key: tuple[object, ...], feeds: Feeds, rows: int) -> Outputs:
        """Return the outputs the cache holds for this key, or the model's, which it then holds.

        Raises:
            ModelRunFailed: the model failed on this input.
            Refusal: 503, too many requests wait.
            DeadlineExceeded: no outputs within the time limit.
        """
        found = self.cache.get(key)
        if found is not None:
            return found
        batcher = self.batcher
        if batcher.at_once(rows):
            outputs = batcher.run_now(feeds, rows)
        else:
            outputs = await batcher.submit(feeds, rows)
        self.cache.put(key, feeds, outputs)
        return outputs


def _runner(session: onnxruntime.InferenceSession, names: list[str]) -> RunModel:
    def run(feeds: Feeds) -> Outputs:
        outputs: Outputs = session.run(names, feeds)
        return outputs

    return run


def predictions_of(schema: ModelSchema) -> Callable[[Outputs], bytes]:
    """Return the function that takes from the outputs what a label can be compared with.

    That is the first output of whole numbers, text or booleans with one value a row (a class);
    without one, the place of the largest value in the first output with several values a row; and
    without that, the first output's own values (a number). It comes as a JSON list for the
    request id, or as nothing where it would not fit.
    """
    classes = _first(schema, lambda spec: _kind(spec) in "iubO" and _one_a_row(spec))
    if classes is not None:
        return lambda outputs: _as_json(outputs[classes])
    scores = _first(schema, lambda spec: _kind(spec) == "f" and len(spec.shape) == 2)
    if scores is not None and not _one_a_row(schema.outputs[scores]):
        return lambda outputs: _as_json(_largest(outputs[scores]))
    return lambda outputs: _as_json(outputs[0])


def _first(schema: ModelSchema, wanted: Callable[[TensorSpec], bool]) -> int | None:
    return next((place for place, spec in enumerate(schema.outputs) if wanted(spec)), None)


def _kind(spec: TensorSpec) -> str:
    return numpy_type(spec).kind


def _one_a_row(spec: TensorSpec) -> bool:
    return len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] == 1)


def _largest(scores: Tensor) -> Tensor:
    if scores.ndim != 2 or scores.shape[1] == 0:
        return np.empty(0, dtype=np.int64)
    largest: Tensor = scores.argmax(axis=1)
    return largest


def _as_json(values: Tensor) -> bytes:
    if not 0 < values.size <= _MOST_ROWS_IN_ID:
        return b""
    text = orjson.dumps(values.ravel().tolist())
    return text if len(text) <= LABEL_BYTES else b""
