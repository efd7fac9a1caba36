"""One model in this process under paced, open-loop load: what the gate measures with.

Requests are due at fixed times and are answered one after another by one thread, as by one serving
worker. A request's latency counts from the instant it was *due*, so that the wait behind a slow
one is part of it (see :mod:`benchmarks.load` on coordinated omission). It is the wait of a queue
with one server (Lindley, Proc. Cambridge Phil. Soc. 48, 1952) with measured service times; what
the timer of this machine woke up late is the client's, not the model's, and is reported apart.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.arrivals import FloatArray
from config.clock import Clock
from config.errors import InputError
from registry.records import ModelSchema, TensorSpec

AnyArray = NDArray[Any]

BATCH_ROWS = 256


class OnnxRunner:
    """A session bound to the rows it is measured with.

    Attributes:
        group: rows one request carries (1, or the model's fixed first axis).
        output_names: names of what :meth:`run` returns, in order.
    """

    def __init__(self, session: Any, schema: ModelSchema, rows: AnyArray | None) -> None:  # noqa: ANN401 - onnxruntime is untyped
        self._session = session
        self._inputs = bind(schema, rows)
        self._batched = schema.batchable
        first = schema.inputs[0]
        axis = first.shape[0] if first.shape else None
        self.group = axis or 1
        self.output_names = [spec.name for spec in schema.outputs]
        self.rows = len(next(iter(self._inputs.values()))) // self.group * self.group
        self.requests = self.rows // self.group
        self._feeds = [self._feed(at, at + self.group) for at in range(0, self.rows, self.group)]

    def answer(self, index: int) -> None:
        """Answer request ``index``; the rows are used in turn."""
        self._session.run(None, self._feeds[index % self.requests])

    def run(self, start: int, stop: int) -> list[object]:
        """The model's outputs for rows ``start`` to ``stop``."""
        outputs: list[object] = self._session.run(None, self._feed(start, stop))
        return outputs

    def batches(self) -> Iterator[tuple[int, int]]:
        """Ranges of rows that the model can take at once, together all of them."""
        step = BATCH_ROWS if self._batched else self.group
        for start in range(0, self.rows, step):
            yield start, min(start + step, self.rows)

    def _feed(self, start: int, stop: int) -> dict[str, AnyArray]:
        return {name: values[start:stop] for name, values in self._inputs.items()}


def bind(schema: ModelSchema, rows: AnyArray | None) -> dict[str, AnyArray]:
    """The rows as the model's input, in its type; zeros for every input when there are none.

    Raises:
        InputError: the model takes several inputs, or rows of another shape.
    """
    if rows is None:
        return {
            spec.name: np.zeros(_one_request(spec), dtype=_dtype(spec)) for spec in schema.inputs
        }
    if len(schema.inputs) != 1:
        raise InputError(
            f"the model takes {len(schema.inputs)} inputs but evaluation data holds one array; "
            "export the model with one input to have it evaluated"
        )
    spec = schema.inputs[0]
    wanted = spec.shape[1:]
    fits = len(wanted) == rows.ndim - 1 and all(
        axis is None or axis == size for axis, size in zip(wanted, rows.shape[1:], strict=True)
    )
    if not fits or len(rows) < (spec.shape[0] or 1):
        raise InputError(
            f"evaluation rows have shape {rows.shape} but input {spec.name} takes {spec.shape}; "
            "save the evaluation data in the shape the model takes"
        )
    return {spec.name: np.ascontiguousarray(rows.astype(_dtype(spec), copy=False))}


def _one_request(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(1 if axis is None else axis for axis in spec.shape)


def _dtype(spec: TensorSpec) -> np.dtype[Any]:
    return np.dtype(object) if spec.dtype in {"object", "str", "string"} else np.dtype(spec.dtype)


@dataclass(frozen=True, slots=True)
class PacedRun:
    """What one paced run measured; arrays have one entry a request, in order of arrival.

    Attributes:
        latency_ms: from the due time to the answer, waiting included.
        service_ms: the model's own time.
        client_lag_ms: how late this machine woke the client; not part of the latency.
        seconds: wall time of the run.
    """

    latency_ms: FloatArray
    service_ms: FloatArray
    client_lag_ms: FloatArray
    seconds: float


def paced(answer: Callable[[int], None], arrivals: FloatArray, clock: Clock) -> PacedRun:
    """Answer a request at each of the arrivals (seconds from now) and time each."""
    service = np.empty(arrivals.size)
    lag = np.empty(arrivals.size)
    free = 0.0
    with _no_collection():
        start = clock.monotonic()
        for index, due in enumerate(arrivals):
            ahead = due - (clock.monotonic() - start)
            if ahead > 0:
                time.sleep(ahead)
            begun = clock.monotonic() - start
            answer(index)
            ended = clock.monotonic() - start
            service[index] = ended - begun
            lag[index] = begun - max(due, free)
            free = ended
    waits = queue_waits(arrivals, service)
    latency = waits + service
    return PacedRun(
        latency_ms=latency * 1e3,
        service_ms=service * 1e3,
        client_lag_ms=np.maximum(lag, 0.0) * 1e3,
        seconds=free,
    )


def queue_waits(arrivals: FloatArray, service: FloatArray) -> FloatArray:
    """Seconds each request waits in a first-come queue with one server.

    Lindley's recursion: the wait of the next request is the wait and service of this one less the
    gap between them, or nothing.
    """
    waits = np.zeros(arrivals.size)
    for index in range(1, arrivals.size):
        gap = arrivals[index] - arrivals[index - 1]
        waits[index] = max(0.0, waits[index - 1] + service[index - 1] - gap)
    return waits


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the collector of this process out of the timings."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
