"""Whether virtual time tells the truth: chosen, default and best settings on the real predictor.

The predictor has one core, and the client the others: with less, the client's work would be in the
figures. So these settings are searched anew, for one core and one thread, and what is compared at
half of the rate that they are predicted to stand is p99 and mean, predicted and realised. The
variants take turns.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median

from benchmarks.batching.search import Best, exhaustive, search, tries_of
from benchmarks.batching.settings import BatchSetting, Bounds, Session, grid
from benchmarks.batching.trials import Scene, Trials
from benchmarks.performance.batching_scenes import Case
from benchmarks.performance.crowd import Slice, Users, send_crowd
from benchmarks.performance.parts import Figure, quartiles
from benchmarks.performance.stage import Stage, open_stage
from benchmarks.serving_models import FEATURES

_SHARE = 0.5
_MOST_RATE = 1500.0
"""What one client on the same machine sends without being the bottleneck."""

_POLLED_S = 3.0
_DONE = {
    "max_batch_size": None,
    "max_wait_ms": None,
    "intra_op_threads": None,
    "allow_spinning": None,
}


@dataclass(frozen=True, slots=True)
class Live:
    """Figures and rows of the real predictor."""

    figures: Sequence[Figure] = ()
    rows: Sequence[dict[str, object]] = field(default=())


@dataclass(frozen=True, slots=True)
class _Turn:
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


def check_live(
    files: Mapping[str, Path],
    cases: Sequence[Case],
    default: BatchSetting,
    seed: int,
    *,
    quick: bool,
) -> Live:
    """Send each model's Poisson traffic to the real predictor with each of the settings."""
    rounds, seconds = (2, 4.0) if quick else (6, 10.0)
    # The last objective of each model is the loosest, under which joining does most.
    chosen = {one.model: one for one in cases if one.traffic == "poisson"}
    rows: list[dict[str, object]] = []
    ratios: dict[str, list[float]] = {"mean": [], "p99": [], "default": [], "best": []}
    failed = 0
    with open_stage(files, {"SERVING__QUEUE_LIMIT": 256}, pinned=True) as stage:
        for scene in [_one_core(case, default) for case in chosen.values()]:
            turns = _turns(stage, scene, rounds, seconds, seed)
            failed += sum(turn.failed for each in turns.values() for turn in each)
            rows += _compared(scene, turns, ratios)
    return Live(_figures(ratios, failed), rows)


def _one_core(case: Case, default: BatchSetting) -> _Scene:
    scene = case.scene
    alone: Scene = replace(
        scene,
        server=replace(scene.server, cores=1),
        curves={one: curve for one, curve in scene.curves.items() if one == Session()},
    )
    settings = grid(Bounds(128, 50.0, 1))
    trials = Trials(alone)
    found = search(trials, settings, tries_of(settings))
    best = exhaustive(trials, settings)
    rate = min(_MOST_RATE, _SHARE * trials.rate(found.step))
    return _Scene(case.model, trials, _variants(found, best, default), rate)


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
    crowd = send_crowd(users, seconds, slice_s=seconds + 1.0, seed=seed)
    slices: Sequence[Slice] = crowd.result()[scene.model]
    return _Turn(
        mean_ms=fmean(one.mean_ms for one in slices),
        p99_ms=max(one.p99_ms for one in slices),
        rate=sum(one.answered for one in slices) / seconds,
        failed=sum(one.failed for one in slices),
    )


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
        slow = [turn.p99_ms for turn in turns[name]]
        ratios["mean"].append(median(means) / predicted.mean_ms)
        ratios["p99"].append(median(slow) / predicted.percentile_ms())
        rows.append(
            {
                "real": scene.model,
                "setting": f"{name}: {setting}",
                "rate": round(rate),
                "answered/s": round(median(turn.rate for turn in turns[name])),
                "mean ms, predicted": round(predicted.mean_ms, 3),
                "realised": round(median(means), 3),
                "p99 ms, predicted": round(predicted.percentile_ms(), 3),
                "p99 realised": round(median(slow), 3),
            }
        )
    for other in ("default", "best"):
        if "chosen" in turns:
            pairs = zip(turns["chosen"], turns[other], strict=True)
            ratios[other].extend(ours.p99_ms / theirs.p99_ms for ours, theirs in pairs)
    return rows


def _figures(ratios: Mapping[str, Sequence[float]], failed: int) -> list[Figure]:
    names = {
        "mean": "real: mean latency, realised to predicted",
        "p99": "real: p99, realised to predicted",
        "default": "real: p99 with the chosen settings to that with the default ones",
        "best": "real: p99 with the chosen settings to that with the brute-force best",
    }
    figures = []
    for key, name in names.items():
        if ratios[key]:
            middle, low, high = quartiles(ratios[key])
            figures.append(Figure(name, middle, "", low, high, note="median and quartiles"))
    figures.append(Figure("real: requests that failed", float(failed), at_most=0.0))
    return figures
