"""From a model's file and its traffic to the best setting, with what it promises.

Measures the run costs and the server's overhead on this machine, replays the traffic at the times
it was recorded, and searches the grid under the latency objective. What it says of rates and
latencies is predicted: replayed in virtual time from measured costs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.batching.cost_curve import Effort, Feeds, measure_curves
from benchmarks.batching.overhead import measure_handoff, measure_overhead
from benchmarks.batching.present import Gain, Outcome, choose, outcome_of
from benchmarks.batching.replayed import Objective, Server
from benchmarks.batching.run_costs import CostCurve
from benchmarks.batching.search import search, tries_of
from benchmarks.batching.settings import BatchSetting, Bounds, Session, grid, sessions
from benchmarks.batching.traffic import Recording
from benchmarks.batching.trials import Scene, Trials
from registry.onnx_files import inspect
from registry.records import ModelSchema

_CURVE_SHARE = 0.3
_SEARCH_SHARE = 0.85
_FEWER_REQUESTS = 8_000
# Above the quickest of a few plain settings, where none of them is within the objective.
_LOOSER = 1.25
# So much of a core may be busy with small things.
_ROUNDING = 0.15


@dataclass(frozen=True, slots=True)
class Question:
    """What is tuned, on what, and how far.

    Attributes:
        path: the model's file.
        recording: its traffic.
        objective_ms: p99 has to stay within it.
        wanted_ms: the mean should be within it: what is cheap, but slower, does not do.
        current: the setting that is in use.
        inputs: real inputs; none: zeros.
        cores: cores of the machine.
        workers: of the predictor, which share them; each has about as much traffic.
        busy_cores: how many cores are busy now, with the predictor's own work in it; 0: only that.
        seconds: about how long it may take.
    """

    path: Path
    recording: Recording
    objective_ms: float
    current: BatchSetting
    bounds: Bounds
    wanted_ms: float = math.inf
    inputs: Sequence[Feeds] = ()
    cores: int = 1
    workers: int = 1
    busy_cores: float = 0.0
    queue_limit: int = 256
    timeout_s: float = 10.0
    seconds: float = 20.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Tuned:
    """The answer.

    Attributes:
        objective_ms: what was searched under: `asked_ms`, or more where no setting meets that
            at the recorded rate.
        best: the setting that stands the highest rate, maybe the current one; None where none meets
            the objective.
        live: what is better at the recorded rate, and what is gained; None: nothing is.
        grid: how many settings there are.
        tried: what was tried, and the rate each is taken to stand, the best first.
        undisturbed: share of the timed runs that no other process interrupted.
    """

    objective_ms: float
    asked_ms: float
    requests: int
    rate: float
    overhead_ms: float
    current: Outcome
    best: Outcome | None
    live: Outcome | None
    gain: Gain | None
    grid: int
    tried: tuple[tuple[BatchSetting, float], ...]
    replays: int
    undisturbed: float
    seconds: float
    curves: tuple[dict[str, Any], ...] = field(repr=False, default=())

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for JSON; settings as the knob has them."""
        found = asdict(self)
        for name, outcome in (("current", self.current), ("best", self.best), ("live", self.live)):
            if outcome is not None:
                found[name] = _told(found[name], outcome.setting)
        found["tried"] = [{**setting.knob(), "rate": rate} for setting, rate in self.tried]
        found["curves"] = list(self.curves)
        return found


def _free_cores(question: Question, curves: Mapping[Session, CostCurve], overhead_s: float) -> int:
    """Whole cores that a worker has, beside what other programs use.

    Threads that wait for a core which somebody else has make a run slower, not faster.
    """
    rows = max(1, round(question.recording.rows_per_request))
    request_s = overhead_s + curves[question.current.session].cpu_of(rows)
    own = question.workers * question.recording.rate * request_s
    others = max(0.0, question.busy_cores - own)
    return max(1, math.floor((question.cores - others) / question.workers + _ROUNDING))


def _reachable_ms(trials: Trials, settings: Sequence[BatchSetting]) -> float:
    """The objective, or a looser one where the recorded traffic cannot have it.

    Where traffic is more than any setting stands, it stays: what stands most is wanted then.
    """
    asked_ms = trials.scene.objective.latency_ms
    plain = [one for one in settings if one.max_wait_ms == 0]
    sizes = sorted({one.max_batch_size for one in plain})
    looked_at = {sizes[0], sizes[len(sizes) // 2], sizes[-1]}
    floor_ms = min(
        trials.replayed(one).percentile_ms() for one in plain if one.max_batch_size in looked_at
    )
    reachable = floor_ms <= asked_ms or not math.isfinite(floor_ms)
    return asked_ms if reachable else _LOOSER * floor_ms


def _told(outcome: dict[str, Any], setting: BatchSetting) -> dict[str, Any]:
    """As JSON has it: a latency without end is null."""
    numbers = {
        name: value if not isinstance(value, float) or math.isfinite(value) else None
        for name, value in outcome.items()
    }
    return numbers | {"setting": setting.knob()}


def tune(question: Question, monotonic: Callable[[], float] = time.monotonic) -> Tuned:
    """Find the best setting.

    Raises:
        ModelRefused: the file is no model that can be run.
        InputError: the model fails on the inputs.
        UnavailableError: the overhead could not be measured.
    """
    began = monotonic()
    schema = inspect(question.path)
    curves = _curves(question, schema)
    overhead = measure_overhead(_numbers(schema), round(question.recording.rows_per_request))
    cores = _free_cores(question, curves, overhead)
    threads = min(question.bounds.max_threads, cores)
    settings = grid(replace(question.bounds, max_threads=threads), batchable=schema.batchable)
    server = _server(question, schema, overhead, cores)
    most = max(_FEWER_REQUESTS, question.recording.at.size)
    asked = Objective(question.objective_ms)
    scene = Scene(question.recording, asked, server, curves, most, question.seed)
    objective = Objective(_reachable_ms(Trials(scene), settings))
    trials = Trials(replace(scene, objective=objective))
    ends, latest = (began + share * question.seconds for share in (_SEARCH_SHARE, 1.0))
    found = search(trials, settings, tries_of(settings), go_on=lambda: monotonic() < ends)
    replays = trials.replays
    current = outcome_of(trials, question.current, found.step)
    best = None if found.setting is None else outcome_of(trials, found.setting, found.step)
    if best is not None and (current.rate or 0.0) >= (best.rate or 0.0):
        best = current
    live, gain = choose(
        trials,
        found,
        settings,
        current,
        wanted_ms=question.wanted_ms,
        go_on=lambda: monotonic() < latest,
    )
    return Tuned(
        objective_ms=trials.scene.objective.latency_ms,
        asked_ms=question.objective_ms,
        requests=question.recording.at.size,
        rate=question.recording.rate,
        overhead_ms=overhead * 1e3,
        current=current,
        best=best,
        live=live,
        gain=gain,
        grid=len(settings),
        tried=tuple((one, trials.rate(step)) for one, step in found.order),
        replays=replays,
        undisturbed=min(curve.undisturbed for curve in curves.values()),
        seconds=monotonic() - began,
        curves=tuple(_shown(curve) for curve in curves.values()),
    )


def _server(question: Question, schema: ModelSchema, overhead_s: float, cores: int) -> Server:
    return Server(
        overhead_s / 2.0,
        overhead_s / 2.0,
        measure_handoff(),
        cores=cores,
        queue_limit=question.queue_limit,
        timeout_s=question.timeout_s,
        batchable=schema.batchable,
    )


def _curves(question: Question, schema: ModelSchema) -> dict[Session, CostCurve]:
    wanted = sessions(question.bounds)
    current = question.current.session
    return measure_curves(
        question.path,
        schema,
        question.inputs,
        sessions=wanted if current in wanted else [*wanted, current],
        most_rows=max(question.bounds.max_batch_size, int(question.recording.rows.max())),
        # A batch that takes longer than the objective is of no use.
        effort=Effort(_CURVE_SHARE * question.seconds, 2.0 * question.objective_ms / 1e3),
    )


def _numbers(schema: ModelSchema) -> int:
    """Numbers in one row of the first input; a free axis counts as one."""
    found = 1
    for axis in schema.inputs[0].shape[1:]:
        found *= axis or 1
    return found


def _shown(curve: CostCurve) -> dict[str, Any]:
    return {
        "threads": curve.session.threads,
        "spinning": curve.session.spinning,
        "median_ms": {str(one.rows): one.median_s * 1e3 for one in curve.levels},
    }
