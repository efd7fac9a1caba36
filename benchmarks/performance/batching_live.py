"""Whether virtual time tells the truth: chosen, default and best settings on the real predictor.

Each case is replayed and then sent, at the same arrivals, to a predictor that runs as any other.
The rate is one that both machine and client stand: half of what the better setting is predicted to
stand. The variants take turns; what is compared is p99 and mean, predicted and realised.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median

from benchmarks.batching.settings import BatchSetting
from benchmarks.batching.trials import Trials
from benchmarks.performance.batching_rivals import Outcome
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


def check_live(
    files: Mapping[str, Path],
    outcomes: Sequence[Outcome],
    default: BatchSetting,
    seed: int,
    *,
    quick: bool,
) -> Live:
    """Send each model's Poisson traffic to the real predictor with each of the settings."""
    rounds, seconds = (1, 3.0) if quick else (6, 10.0)
    chosen = {one.case.model: one for one in outcomes if one.case.traffic == "poisson"}
    rows: list[dict[str, object]] = []
    ratios: dict[str, list[float]] = {"mean": [], "p99": [], "default": [], "best": []}
    failed = 0
    with open_stage(files, {"SERVING__QUEUE_LIMIT": 256}) as stage:
        for model, outcome in chosen.items():
            variants = _variants(outcome, default)
            rate = min(_MOST_RATE, _SHARE * outcome.rate(outcome.found.step))
            turns = _turns(stage, model, variants, rate, rounds, seconds, seed)
            failed += sum(turn.failed for each in turns.values() for turn in each)
            rows += _compared(outcome, variants, turns, rate, ratios)
    return Live(_figures(ratios, failed), rows)


def _variants(outcome: Outcome, default: BatchSetting) -> dict[str, BatchSetting]:
    variants = {"default": default}
    if outcome.found.setting is not None and outcome.brute.setting is not None:
        variants |= {"chosen": outcome.found.setting, "best": outcome.brute.setting}
    return variants


def _turns(  # noqa: PLR0913, PLR0917 - what is sent where, how often and how long
    stage: Stage,
    model: str,
    variants: Mapping[str, BatchSetting],
    rate: float,
    rounds: int,
    seconds: float,
    seed: int,
) -> dict[str, list[_Turn]]:
    """Every variant once a round; who comes first changes."""
    turns: dict[str, list[_Turn]] = {name: [] for name in variants}
    names = list(variants)
    for number in range(rounds):
        start = number % len(names)
        for name in (*names[start:], *names[:start]):
            stage.turn(f"serving/{model}", variants[name].knob())
            time.sleep(_POLLED_S)
            turns[name].append(_sent(stage, model, rate, seconds, seed + number))
    stage.turn(f"serving/{model}", _DONE)
    return turns


def _sent(stage: Stage, model: str, rate: float, seconds: float, seed: int) -> _Turn:
    users = {model: Users(stage.url_of(model), rate, FEATURES)}
    crowd = send_crowd(users, seconds, slice_s=seconds + 1.0, seed=seed)
    slices: Sequence[Slice] = crowd.result()[model]
    return _Turn(
        mean_ms=fmean(one.mean_ms for one in slices),
        p99_ms=max(one.p99_ms for one in slices),
        rate=sum(one.answered for one in slices) / seconds,
        failed=sum(one.failed for one in slices),
    )


def _compared(
    outcome: Outcome,
    variants: Mapping[str, BatchSetting],
    turns: Mapping[str, Sequence[_Turn]],
    rate: float,
    ratios: Mapping[str, list[float]],
) -> list[dict[str, object]]:
    trials = Trials(outcome.case.scene)
    rows: list[dict[str, object]] = []
    for name, setting in variants.items():
        predicted = trials.replayed(setting, trials.step(rate))
        means = [turn.mean_ms for turn in turns[name]]
        slow = [turn.p99_ms for turn in turns[name]]
        ratios["mean"].append(median(means) / predicted.mean_ms)
        ratios["p99"].append(median(slow) / predicted.percentile_ms())
        rows.append(
            {
                "real": outcome.case.model,
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
