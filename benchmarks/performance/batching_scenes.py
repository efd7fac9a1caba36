"""The scenes of the batching benchmark, and how they are handed to a rival in another process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.batching import traffic
from benchmarks.batching.replayed import Objective, Server
from benchmarks.batching.run_costs import CostCurve, CostLevel
from benchmarks.batching.settings import Session
from benchmarks.batching.traffic import Recording
from benchmarks.batching.trials import Scene


@dataclass(frozen=True, slots=True)
class Case:
    """A model under one kind of traffic and one objective."""

    model: str
    traffic: str
    scene: Scene


def scene_to(scene: Scene) -> dict[str, Any]:
    """All of a scene, fit for JSON."""
    return {
        "at": scene.recording.at.tolist(),
        "rows": scene.recording.rows.tolist(),
        "objective": [scene.objective.latency_ms, scene.objective.share],
        "server": [
            scene.server.read_s,
            scene.server.answer_s,
            scene.server.handoff_s,
            scene.server.cores,
            scene.server.queue_limit,
            scene.server.timeout_s,
            scene.server.batchable,
        ],
        "curves": [_curve_to(curve) for curve in scene.curves.values()],
        "most_requests": scene.most_requests,
        "seed": scene.seed,
    }


def scene_from(content: Mapping[str, Any]) -> Scene:
    """Read what :func:`scene_to` wrote."""
    curves = [_curve_from(one) for one in content["curves"]]
    at = np.asarray(content["at"], dtype=np.float64)
    return Scene(
        traffic.recorded(at, np.asarray(content["rows"], dtype=np.int64)),
        Objective(*content["objective"]),
        Server(*content["server"]),
        {curve.session: curve for curve in curves},
        content["most_requests"],
        content["seed"],
    )


def _curve_to(curve: CostCurve) -> dict[str, Any]:
    levels = [[one.rows, list(one.seconds), one.cpu_s, one.repeats] for one in curve.levels]
    return {"session": [curve.session.threads, curve.session.spinning], "levels": levels}


def _curve_from(content: Mapping[str, Any]) -> CostCurve:
    levels = [
        CostLevel(rows, tuple(seconds), cpu_s, repeats)
        for rows, seconds, cpu_s, repeats in content["levels"]
    ]
    return CostCurve(Session(*content["session"]), tuple(levels))


def recordings(seed: int, count: int) -> dict[str, Recording]:
    """Arrivals of both kinds."""
    kinds = {"poisson": traffic.poisson, "bursty": traffic.bursty}
    return {name: make(count, np.random.default_rng(seed)) for name, make in kinds.items()}


def objectives(curves: Mapping[Session, CostCurve], how_many: Sequence[float]) -> list[float]:
    """Objectives in ms: so many times a run of one row, and of a millisecond at least."""
    base = max(1.0, curves[Session()].median_s(1) * 1e3)
    return [round(base * one, 2) for one in how_many]
