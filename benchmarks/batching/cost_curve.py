"""Times a model's runs: by rows, for each way to run it, in turns, on the real session.

A run that another process interrupted tells about that process, so it is left out (the kernel
counts how often a thread lost the core while it still had work). Where nearly all are interrupted,
because the machine is busy, the processor time of the run is taken where one thread runs it, and
the faster half of the runs otherwise.

Runs are timed as the batcher makes them: requests joined, run, and divided again.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.batching.run_costs import CostCurve, CostLevel, quantiles_of
from benchmarks.batching.settings import Session
from benchmarks.inprocess import AnyArray, bind
from config.errors import InputError
from registry.onnx_files import open_session
from registry.records import ModelSchema

Feeds = Mapping[str, AnyArray]

_FEWEST = 3
_MOST = 64
_FEWEST_CLEAN = 5
_MOST_ROWS_LONG = 12.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is timed.

    Attributes:
        seconds: longest time of all runs together; the smallest number of runs may take longer.
        longest_run_s: sizes above one whose run takes longer than this, and than a dozen runs of
            one row, are not timed.
    """

    seconds: float = 5.0
    longest_run_s: float = 1.0


@dataclass(slots=True)
class _Timed:
    """The runs of one size on one session."""

    session: Session
    rows: int
    feeds: list[Feeds]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    clean: list[bool] = field(default_factory=list)


def measure_curves(
    path: Path,
    schema: ModelSchema,
    inputs: Sequence[Feeds],
    *,
    sessions: Sequence[Session],
    most_rows: int,
    effort: Effort = Effort(),
) -> dict[Session, CostCurve]:
    """Time runs of 1, 2, 4 … `most_rows` rows on each session.

    Args:
        path: the model's file, inspected before.
        schema: its inputs and outputs.
        inputs: real inputs to run it on; where there are none, zeros.
        sessions: the ways to run it.
        most_rows: the largest batch; of no use for a model whose rows cannot be joined.
        effort: how much is timed.

    Raises:
        ModelRefused: the file does not load.
        InputError: the model fails on the inputs.
    """
    rows = one_row_requests(schema, inputs)
    sizes = _sizes(most_rows) if schema.batchable else [1]
    outputs = [spec.name for spec in schema.outputs]
    jobs: list[tuple[Any, list[_Timed]]] = []
    for one in sessions:
        session = open_session(path, one.threads, spinning=one.spinning)
        feeds = [[rows[at % len(rows)] for at in range(size)] for size in sizes]
        kept = _first_runs(session, outputs, one, sizes, feeds, effort.longest_run_s)
        jobs.append((session, kept))
    _time_in_turns(jobs, outputs, effort.seconds)
    return {one: _curve(one, timed) for one, (_, timed) in zip(sessions, jobs, strict=True)}


def one_row_requests(schema: ModelSchema, inputs: Sequence[Feeds]) -> list[Feeds]:
    """The inputs as requests of one row each, at most 256; zeros where there are none."""
    if not inputs:
        return [bind(schema, None)]
    if not schema.batchable:
        return list(inputs[:256])
    found: list[Feeds] = []
    for feeds in inputs:
        size = len(next(iter(feeds.values())))
        found += [{name: array[at : at + 1] for name, array in feeds.items()} for at in range(size)]
    return found[:256]


def _sizes(most_rows: int) -> list[int]:
    found = [2**step for step in range(most_rows.bit_length()) if 2**step <= most_rows]
    return found if found[-1] == most_rows else [*found, most_rows]


def _first_runs(
    session: Any,  # noqa: ANN401 - onnxruntime is untyped
    outputs: list[str],
    one: Session,
    sizes: list[int],
    feeds: list[list[Feeds]],
    longest_s: float,
) -> list[_Timed]:
    """Run each size once, which also warms up; sizes that take too long are left out."""
    kept: list[_Timed] = []
    for size, requests in zip(sizes, feeds, strict=True):
        timed = _Timed(one, size, requests)
        try:
            _run(session, outputs, requests)
            began = time.perf_counter()
            _run(session, outputs, requests)
        except Exception as error:
            text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise InputError(
                f"the model fails on {size} rows of the inputs it is timed with ({text}); give "
                "inputs that it takes"
            ) from error
        took = time.perf_counter() - began
        if kept and took > longest_s:
            break
        # Some joining is looked at, however long one row takes.
        longest_s = max(longest_s, _MOST_ROWS_LONG * took) if not kept else longest_s
        kept.append(timed)
    return kept


def _time_in_turns(
    jobs: list[tuple[Any, list[_Timed]]], outputs: list[str], seconds: float
) -> None:
    """Go round all sizes and sessions, so that a slow moment of the machine meets all alike."""
    began = time.monotonic()
    for turn in range(_MOST):
        over = time.monotonic() - began - seconds
        if (turn >= _FEWEST and over >= 0) or (turn >= 1 and over >= seconds):
            return
        for session, levels in jobs:
            # The pool of the session before may spin on for a moment.
            _run(session, outputs, levels[0].feeds)
            for timed in levels:
                _time(session, outputs, timed)


def _time(session: Any, outputs: list[str], timed: _Timed) -> None:  # noqa: ANN401 - onnxruntime is untyped
    lost = _times_interrupted()
    cpu, began = time.process_time(), time.perf_counter()
    _run(session, outputs, timed.feeds)
    timed.wall.append(time.perf_counter() - began)
    timed.cpu.append(time.process_time() - cpu)
    timed.clean.append(_times_interrupted() == lost)


def _times_interrupted() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _run(session: Any, outputs: list[str], requests: list[Feeds]) -> None:  # noqa: ANN401 - onnxruntime is untyped
    """What `serving.batches.run_batch` does with a batch."""
    if len(requests) == 1:
        session.run(outputs, requests[0])
        return
    joined = {name: np.concatenate([one[name] for one in requests]) for name in requests[0]}
    found = session.run(outputs, joined)
    for place in range(len(requests)):
        for output in found:
            output[place : place + 1]


def _curve(session: Session, levels: list[_Timed]) -> CostCurve:
    found = []
    clean = 0
    for timed in levels:
        kept = [wall for wall, fit in zip(timed.wall, timed.clean, strict=True) if fit]
        clean += len(kept)
        if len(kept) < min(_FEWEST_CLEAN, len(timed.wall)):
            kept = timed.cpu if session.threads == 1 else _faster_half(timed.wall)
        cpu = sorted(timed.cpu)[len(timed.cpu) // 2]
        found.append(CostLevel(timed.rows, quantiles_of(kept), cpu, len(kept)))
    return CostCurve(session, tuple(found), clean / sum(len(timed.wall) for timed in levels))


def _faster_half(seconds: list[float]) -> list[float]:
    return sorted(seconds)[: (len(seconds) + 1) // 2]
