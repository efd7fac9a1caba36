"""Whether virtual time tells the truth: chosen, default and best settings on the real predictor.

The predictor has one core, and the client the others: with less, the client's work would be in the
figures. So settings are searched for one core and one thread. At half of the rate that they are
predicted to stand, the mean that the predictor itself counts is held against the predicted one; a
client's includes its own work. The settings that the predictor comes with, those chosen and the
best of the grid take turns, and their p99 are compared as the client sees them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.batching.replayed import Objective, Server
from benchmarks.batching.search import Best, exhaustive, search, tries_of
from benchmarks.batching.settings import BatchSetting, Bounds, grid
from benchmarks.batching.trials import Scene, Trials
from benchmarks.performance.batching import (
    DEFAULT,
    LARGEST,
    LONGEST_MS,
    curves_of,
    server_on,
)
from benchmarks.performance.batching_models import write_models
from benchmarks.performance.batching_scenes import objectives, recordings
from benchmarks.performance.counters import read_counters
from benchmarks.performance.crowd import Slice, Users, send_crowd
from benchmarks.performance.parts import Figure, Part, quartiles
from benchmarks.performance.stage import Stage, open_stage
from benchmarks.serving_models import FEATURES

_SHARE = 0.5
_OBJECTIVE = 40.0
"""Times a run of one row."""

_ARRIVALS = 12_000
_MOST_RATE = 800.0
"""What one client on the same machine sends without being the bottleneck."""

_LATENCY = "prime_spark_request_latency_seconds"

_POLLED_S = 3.0
_DONE = {
    "max_batch_size": None,
    "max_wait_ms": None,
    "intra_op_threads": None,
    "allow_spinning": None,
}


@dataclass(frozen=True, slots=True)
class _Turn:
    """One turn of some settings.

    Attributes:
        mean_ms: by the predictor's own histogram, as it is what is predicted.
        p99_ms: as the client sees it, from when each request was due.
        rate: answers a second.
    """

    mean_ms: float
    p99_ms: float
    rate: float
    failed: int


@dataclass(frozen=True, slots=True)
class _Scene:
    """A model on one core: its trials, the settings that are sent, and the rate."""

    model: str
    trials: Trials
    variants: Mapping[str, BatchSetting]
    rate: float


def measure(quick: bool, seed: int) -> Part:
    """See the module."""
    rounds, seconds, each_s = (2, 4.0, 2.0) if quick else (4, 8.0, 12.0)
    ratios: dict[str, list[float]] = {"mean": [], "default": [], "best": []}
    rows: list[dict[str, object]] = []
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        files = write_models(Path(name), seed)
        server = server_on(1)
        scenes = [_scene(one, path, server, each_s, seed) for one, path in files.items()]
        with open_stage(files, {"SERVING__QUEUE_LIMIT": 256}, pinned=True) as stage:
            for scene in scenes:
                turns = _turns(stage, scene, rounds, seconds, seed)
                failed += sum(turn.failed for each in turns.values() for turn in each)
                rows += _compared(scene, turns, ratios)
    real = "the predictor, its load and its settings; what is predicted comes from virtual time"
    title = "batching: what virtual time predicts, and what the real predictor does"
    return Part("batching_live", title, real, _figures(ratios, failed), rows)


def _scene(model: str, path: Path, server: Server, each_s: float, seed: int) -> _Scene:
    """Search the settings for one core and one thread, under the loosest objective.

    There joining does most.
    """
    bounds = Bounds(LARGEST, LONGEST_MS, 1)
    curves = curves_of(path, bounds, each_s)
    recording = recordings(seed, _ARRIVALS)["poisson"]
    (objective_ms,) = objectives(curves, (_OBJECTIVE,))
    trials = Trials(Scene(recording, Objective(objective_ms), server, curves, seed=seed))
    settings = grid(bounds)
    found = search(trials, settings, tries_of(settings))
    best = exhaustive(trials, settings)
    rate = min(_MOST_RATE, _SHARE * trials.rate(found.step))
    return _Scene(model, trials, _variants(found, best, DEFAULT), rate)


def _variants(found: Best, best: Best, default: BatchSetting) -> dict[str, BatchSetting]:
    variants = {"default": default}
    if found.setting is not None and best.setting is not None:
        variants |= {"chosen": found.setting, "best": best.setting}
    return variants


def _turns(
    stage: Stage, scene: _Scene, rounds: int, seconds: float, seed: int
) -> dict[str, list[_Turn]]:
    """Every variant once a round; who comes first changes."""
    turns: dict[str, list[_Turn]] = {name: [] for name in scene.variants}
    names = list(scene.variants)
    for number in range(rounds):
        start = number % len(names)
        for name in (*names[start:], *names[:start]):
            stage.turn(f"serving/{scene.model}", scene.variants[name].knob())
            time.sleep(_POLLED_S)
            turns[name].append(_sent(stage, scene, seconds, seed + number))
    stage.turn(f"serving/{scene.model}", _DONE)
    return turns


def _sent(stage: Stage, scene: _Scene, seconds: float, seed: int) -> _Turn:
    users = {scene.model: Users(stage.url_of(scene.model), scene.rate, FEATURES)}
    before = _answered(stage, scene.model)
    crowd = send_crowd(users, seconds, slice_s=seconds + 1.0, seed=seed)
    slices: Sequence[Slice] = crowd.result()[scene.model]
    after = _answered(stage, scene.model)
    return _Turn(
        mean_ms=(after["sum"] - before["sum"]) / (after["count"] - before["count"]) * 1e3,
        p99_ms=max(one.p99_ms for one in slices),
        rate=sum(one.answered for one in slices) / seconds,
        failed=sum(one.failed for one in slices),
    )


def _answered(stage: Stage, model: str) -> dict[str, float]:
    """Seconds of all requests for a model so far, and their number, by the predictor's count."""
    page = read_counters(stage.url)
    return {part: page.total(f"{_LATENCY}_{part}", model=model) for part in ("sum", "count")}


def _compared(
    scene: _Scene,
    turns: Mapping[str, Sequence[_Turn]],
    ratios: Mapping[str, list[float]],
) -> list[dict[str, object]]:
    trials, rate = scene.trials, scene.rate
    rows: list[dict[str, object]] = []
    for name, setting in scene.variants.items():
        predicted = trials.replayed(setting, trials.step(rate))
        means = [turn.mean_ms for turn in turns[name]]
        ratios["mean"].append(median(means) / predicted.mean_ms)
        rows.append(
            {
                "model": scene.model,
                "setting": f"{name}: {setting}",
                "rate": round(rate),
                "answered/s": round(median(turn.rate for turn in turns[name])),
                "mean ms, predicted": round(predicted.mean_ms, 3),
                "realised": round(median(means), 3),
                "p99 ms, predicted": round(predicted.percentile_ms(), 3),
                "p99 of the client": round(median(turn.p99_ms for turn in turns[name]), 3),
            }
        )
    for other in ("default", "best"):
        if "chosen" in turns:
            pairs = zip(turns["chosen"], turns[other], strict=True)
            ratios[other].extend(ours.p99_ms / theirs.p99_ms for ours, theirs in pairs)
    return rows


def _figures(ratios: Mapping[str, Sequence[float]], failed: int) -> list[Figure]:
    names = {
        "mean": "mean latency in the predictor, realised to predicted",
        "default": "p99 with the chosen settings to that with the default ones",
        "best": "p99 with the chosen settings to that with the brute-force best",
    }
    figures = []
    for key, name in names.items():
        if ratios[key]:
            middle, low, high = quartiles(ratios[key])
            figures.append(Figure(name, middle, "", low, high, note="median and quartiles"))
    figures.append(Figure("requests that failed", float(failed), at_most=0.0))
    return figures
