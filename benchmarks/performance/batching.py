"""Batching: the search against brute force, an AIMD controller and BentoML's dispatcher.

In virtual time: real models' run costs and the server's overhead are measured here, and every
policy is replayed on the same arrivals and the same draws of those costs. Whether virtual time
tells the truth is the question of `batching_live`.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.batching.aimd import Watched
from benchmarks.batching.cost_curve import Effort, measure_curves
from benchmarks.batching.overhead import measure_handoff, measure_overhead
from benchmarks.batching.replayed import Objective, Server
from benchmarks.batching.run_costs import CostCurve
from benchmarks.batching.search import SHARE
from benchmarks.batching.settings import BatchSetting, Bounds, Session, grid, sessions
from benchmarks.batching.trials import Scene
from benchmarks.performance.batching_models import write_models
from benchmarks.performance.batching_rivals import Outcome, compare
from benchmarks.performance.batching_scenes import Case, objectives, recordings
from benchmarks.performance.parts import Figure, Part, quartiles
from benchmarks.serving_models import FEATURES
from registry.onnx_files import inspect

# The predictor's overhead is up to so many times that of a bare application (ADR 004).
_PREDICTOR = 1.15
LARGEST, LONGEST_MS = 128, 50.0
_OBJECTIVES = (3.0, 10.0, 40.0)
_QUICK_MODELS = ("mlp", "deep")

Curves = Mapping[Session, CostCurve]

DEFAULT = BatchSetting(32)
"""What the predictor does without any settings."""


def measure(quick: bool, seed: int) -> Part:
    """See the module."""
    cores = len(os.sched_getaffinity(0))
    bounds = Bounds(LARGEST, LONGEST_MS, min(cores, 8))
    settings = grid(bounds)
    with tempfile.TemporaryDirectory() as name:
        files = write_models(Path(name), seed)
        if quick:
            files = {one: files[one] for one in _QUICK_MODELS}
        curves = {
            one: curves_of(path, bounds, 2.0 if quick else 12.0) for one, path in files.items()
        }
        server = server_on(cores)
        cases = _cases(curves, server, seed, quick=quick)
        outcomes = compare(cases, settings, DEFAULT)
    return _part(outcomes, server)


def curves_of(path: Path, bounds: Bounds, seconds: float) -> Curves:
    """What runs of a model cost, each way to run it timed for so many seconds."""
    effort = Effort(seconds, longest_run_s=1.0)
    ways = sessions(bounds)
    return measure_curves(
        path, inspect(path), [], sessions=ways, most_rows=bounds.max_batch_size, effort=effort
    )


def server_on(cores: int) -> Server:
    """What the predictor adds to a run, measured on a bare application."""
    overhead = _PREDICTOR * sorted(measure_overhead(FEATURES) for _ in range(3))[1]
    return Server(overhead / 2.0, overhead / 2.0, measure_handoff(), cores)


def _cases(curves: Mapping[str, Curves], server: Server, seed: int, *, quick: bool) -> list[Case]:
    arrivals = recordings(seed, 3000 if quick else 12_000)
    return [
        Case(model, kind, Scene(recording, Objective(objective_ms), server, found, seed=seed))
        for model, found in curves.items()
        for kind, recording in arrivals.items()
        for objective_ms in objectives(found, _OBJECTIVES[: 1 if quick else None])
    ]


def _part(outcomes: Sequence[Outcome], server: Server) -> Part:
    brute = [one.ratio(one.brute.step) or 0.0 for one in outcomes]
    median, low, high = quartiles(brute)
    figures = [
        Figure(
            "the least of all cases, of the brute-force best throughput",
            min(brute),
            at_least=0.97,
            note=f"median {median:.3f}, quartiles {low:.3f} – {high:.3f} of {len(brute)} cases",
        ),
        Figure(
            "the most that was tried of the grid",
            max(one.tried / one.grid for one in outcomes),
            at_most=SHARE,
            note=f"of {outcomes[0].grid} settings",
        ),
        *(figure for watched in Watched for figure in _against_aimd(outcomes, watched)),
        _against(
            "BentoML's dispatcher", outcomes, [one.ratio(one.bentoml) for one in outcomes], 1.05
        ),
        _against("the default settings", outcomes, [one.ratio(one.default) for one in outcomes]),
    ]
    real = (
        "run costs, the server's overhead and what BentoML's dispatcher costs the loop are "
        "measured; its code is BentoML's own; time is virtual. "
        f"A request costs {(server.read_s + server.answer_s) * 1e6:.0f} µs besides the run, "
        f"handing a run to a thread {server.handoff_s * 1e6:.0f} µs; BentoML's dispatcher "
        f"{outcomes[0].bentoml_us[0]:.0f} µs more a request and {outcomes[0].bentoml_us[1]:.0f} µs "
        "a run"
    )
    title = "batching: the search, brute force, AIMD and BentoML's dispatcher on the same arrivals"
    return Part("batching", title, real, figures, list(map(_row, outcomes)))


def _against_aimd(outcomes: Sequence[Outcome], watched: Watched) -> Iterator[Figure]:
    """One form of the controller; and how much more than it the best of all settings stands."""
    name = f"AIMD that watches the {watched}"
    steps = [one.aimd[watched] for one in outcomes]
    ours = [one.ratio(step) for one, step in zip(outcomes, steps, strict=True)]
    best = [one.best_ratio(step) for one, step in zip(outcomes, steps, strict=True)]
    yield _against(name, outcomes, ours, 1.10)
    yield _against(name, outcomes, best, whose="brute force")


def _against(
    name: str,
    outcomes: Sequence[Outcome],
    ratios: Sequence[float | None],
    at_least: float | None = None,
    *,
    whose: str = "ours",
) -> Figure:
    """The geometric mean of the ratios; cases where the other stands nothing are left out of it."""
    title = f"throughput, {whose} to {name}"
    known = [one for one in ratios if one is not None]
    without = len(outcomes) - len(known)
    note = f"geometric mean; it meets the objective at no rate in {without} cases, not counted"
    if not known:
        return Figure(title, None, at_least=at_least, note=note)
    _, low, high = quartiles(known)
    mean = math.exp(sum(math.log(one) for one in known) / len(known))
    return Figure(title, mean, "", low, high, at_least=at_least, note=note)


def _row(one: Outcome) -> dict[str, object]:
    return {
        "model": one.case.model,
        "arrivals": one.case.traffic,
        "p99 ms": one.case.scene.objective.latency_ms,
        "chosen": str(one.found.setting),
        "best": str(one.brute.setting),
        "rate": round(one.rate(one.found.step)),
        "of best": round(one.ratio(one.brute.step) or 0.0, 3),
        "tried": one.tried,
        "replays": one.replays,
        "default": round(one.rate(one.default)),
        **{f"AIMD on the {name}": round(one.rate(step)) for name, step in one.aimd.items()},
        "BentoML": round(one.rate(one.bentoml)),
    }
