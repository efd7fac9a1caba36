"""A saturated predictor: the agent finds better settings for it; latency and processor use fall.

One model that is bound by the reading of its weights (as large dense models are) is served one row
at a time and kept busy. `prime-spark tune now batch_inference` looks, searches and applies. Then
the settings before, those the agent chose, and the best of an exhaustive search take turns under
the same load, each in every round.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.performance.crowd import Slice, Users, mean_ms, send_crowd
from benchmarks.performance.keeping_busy import busy_rate
from benchmarks.performance.parts import Figure, Part, quartiles
from benchmarks.performance.stage import Stage, core_share, open_stage, said
from benchmarks.serving_models import FEATURES, run_ms, write_model

MODEL = "busy"
SCOPE = f"serving/{MODEL}"
_LAYERS = 24
_BUSY = 0.88
"""Share of one core that the predictor is kept at with the settings before."""

_POLLED_S = 3.0
Settings = Mapping[str, float | None]
BEFORE: Settings = {
    "max_batch_size": 1.0,
    "max_wait_ms": 0.0,
    "intra_op_threads": 1.0,
    "allow_spinning": 0.0,
}
_GRID = {
    "max_batch_size": (1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
    "max_wait_ms": (0.0, 5.0, 20.0),
    "intra_op_threads": (1.0, 2.0),
}


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of some settings: mean latency, p99, and the share of a core that was used."""

    mean_ms: float
    p99_ms: float
    core_share: float
    failed: int


def measure(quick: bool, seed: int) -> Part:
    """See the module."""
    rounds, slice_s, grid_s = (2, 4.0, 2.0) if quick else (10, 8.0, 5.0)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "busy.onnx"
        write_model(file, _LAYERS, seed)
        one_ms = run_ms(file)
        with open_stage({MODEL: file}, _settings(one_ms)) as stage:
            stage.turn(SCOPE, BEFORE)
            rate = busy_rate(stage, MODEL, _BUSY, one_ms, seed)
            answer = _tuned(stage, rate, seed, quick=quick)
            chosen = _written(stage)
            best = _exhaustive(stage, rate, grid_s, seed)
            turns = _rounds(
                stage,
                {"before": BEFORE, "agent": chosen, "best": best},
                rate,
                rounds,
                slice_s,
                seed,
            )
    return _part(turns, answer, chosen, best, rate, one_ms)


def _settings(one_ms: float) -> dict[str, object]:
    """The objective stands to the model's run as 100 ms does to one of 20 ms.

    The trigger is lower, since the queue at the wanted share of a core is not always as long.
    """
    return {
        "SERVING__LATENCY_OBJECTIVE_MS": f"{5 * one_ms:.3f}",
        "SERVING__QUEUE_LIMIT": 1000,
        "PERFORMANCE__BATCH_INFERENCE__LATENCY_MS": f"{3 * one_ms:.3f}",
        "AGENT__COOLDOWN_SECONDS": 0,
        "AGENT__SETTLE_SECONDS": 3,
        "AGENT__VERIFY_SECONDS": 200,
    }


def _users(stage: Stage, rate: float) -> dict[str, Users]:
    return {MODEL: Users(stage.url_of(MODEL), rate, FEATURES)}


def _tuned(stage: Stage, rate: float, seed: int, *, quick: bool) -> dict[str, object]:
    """Let the agent tune under load, which lasts as long as it takes."""
    crowd = send_crowd(_users(stage, rate), 900.0, slice_s=5.0, seed=seed)
    try:
        crowd.await_begin()
        settings = {"AGENT__VERIFY_SECONDS": 60, "AGENT__VERIFY_SAMPLES": 12} if quick else {}
        return stage.tune("batch_inference", looks=5, every_s=2.0, **settings)
    finally:
        crowd.stop()


def _written(stage: Stage) -> Settings:
    known = stage.knobs().get(SCOPE, {})
    return {name: known.get(name) for name in BEFORE}


def _exhaustive(stage: Stage, rate: float, seconds: float, seed: int) -> Settings:
    """The settings of the grid with the lowest mean latency, each measured on its own."""
    found: list[tuple[float, Settings]] = []
    for values in itertools.product(*_GRID.values()):
        tried: Settings = {**BEFORE, **dict(zip(_GRID, values, strict=True))}
        if tried["max_batch_size"] == 1.0 and tried["max_wait_ms"] != 0.0:
            continue
        found.append((_turn(stage, tried, rate, seconds, seed).mean_ms, tried))
    return min(found, key=lambda one: one[0])[1]


def _rounds(
    stage: Stage,
    variants: Mapping[str, Settings],
    rate: float,
    rounds: int,
    slice_s: float,
    seed: int,
) -> dict[str, list[Turn]]:
    """Every variant once a round on the same arrivals; who comes first changes."""
    turns: dict[str, list[Turn]] = {name: [] for name in variants}
    names = list(variants)
    for number in range(rounds):
        start = number % len(names)
        for name in (*names[start:], *names[:start]):
            turns[name].append(_turn(stage, variants[name], rate, slice_s, seed + number))
    return turns


def _turn(stage: Stage, settings: Settings, rate: float, seconds: float, seed: int) -> Turn:
    if _written(stage) != settings:
        stage.turn(SCOPE, settings)
        time.sleep(_POLLED_S)
    crowd = send_crowd(_users(stage, rate), seconds, slice_s=seconds + 1.0, seed=seed)
    crowd.await_begin()
    share = core_share(stage, seconds)
    slices: Sequence[Slice] = crowd.result()[MODEL]
    return Turn(
        mean_ms=mean_ms(slices),
        p99_ms=max(one.p99_ms for one in slices),
        core_share=share,
        failed=sum(one.failed for one in slices),
    )


def _part(
    turns: Mapping[str, Sequence[Turn]],
    answer: Mapping[str, object],
    chosen: Settings,
    best: Settings,
    rate: float,
    one_ms: float,
) -> Part:
    figures = [
        _ratio("mean latency, the agent's to before", turns, "agent", at_most=0.75),
        _ratio("mean latency, the best possible to before", turns, "best"),
        _share("processor before", turns["before"], at_least=0.85),
        _share("processor with the agent's settings", turns["agent"], at_most=0.65),
        _share("processor with the best latency", turns["best"]),
    ]
    lost = float(sum(one.failed for each in turns.values() for one in each))
    figures.append(Figure("requests that failed", lost, at_most=0.0))
    rows: list[dict[str, object]] = [
        {"before": dict(BEFORE), "agent": dict(chosen), "best": dict(best)},
        {"rate": f"{rate:.1f}/s", "one run": f"{one_ms:.1f} ms", "the agent said": said(answer)},
    ]
    return Part(
        "saturated",
        "a saturated predictor before and after the agent's batch_inference",
        "all real: predictor, load, search, verification; interleaved rounds on the same arrivals",
        figures,
        rows,
    )


def _ratio(
    name: str, turns: Mapping[str, Sequence[Turn]], variant: str, at_most: float | None = None
) -> Figure:
    pairs = zip(turns[variant], turns["before"], strict=True)
    median, low, high = quartiles([after.mean_ms / before.mean_ms for after, before in pairs])
    return Figure(name, median, "", low, high, at_most=at_most, note="median and quartiles")


def _share(
    name: str, turns: Sequence[Turn], at_least: float | None = None, at_most: float | None = None
) -> Figure:
    median, low, high = quartiles([one.core_share for one in turns])
    return Figure(name, median, "of a core", low, high, at_least, at_most, "median and quartiles")
