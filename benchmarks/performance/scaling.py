"""Scaling by the agent: a worker more when one is saturated, and one fewer when both idle.

One predictor under open-loop load that never stops. `prime-spark tune now cpu_optimization` is
asked first under heavy load, then under a light one. What counts is how many workers run
afterwards, how busy each is, and that no request was lost, neither when a worker came nor when one
drained.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.performance.crowd import Users, mean_ms, send_crowd
from benchmarks.performance.keeping_busy import busy_rate
from benchmarks.performance.parts import Figure, Part
from benchmarks.performance.stage import Stage, core_share, open_stage, said
from benchmarks.serving_models import FEATURES, run_ms, write_model

MODEL = "busy"
_LAYERS = 24
_HEAVY, _LIGHT = 0.88, 0.12
"""Share of a core that the predictor is kept at: above the trigger, and idle for two."""

_LOAD_S, _QUICK_LOAD_S, _SLICE_S, _FEW = 360.0, 200.0, 5.0, 4
_LOOKED_S = 10.0
_DRAINED_S = 10.0


def measure(quick: bool, seed: int) -> Part:
    """See the module."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "busy.onnx"
        write_model(file, _LAYERS, seed)
        one_ms = run_ms(file)
        with open_stage({MODEL: file}, _settings(one_ms)) as stage:
            verify = {"AGENT__VERIFY_SECONDS": 40, "AGENT__VERIFY_SAMPLES": 12} if quick else {}
            seconds = _QUICK_LOAD_S if quick else _LOAD_S
            rate = busy_rate(stage, MODEL, _HEAVY, one_ms, seed)
            out = _Scene(stage, rate, seed).play(seconds, verify)
            into = _Scene(stage, rate * _LIGHT / _HEAVY, seed + 1).play(seconds, verify)
    figures = [
        Figure("workers after scaling out", out.workers, at_least=2, at_most=2),
        Figure("share of a core each worker is busy, before scaling out", out.busy[0]),
        Figure("share of a core each worker is busy, after scaling out", out.busy[1], at_most=0.7),
        Figure("latency, out, to before", out.latency, note="mean of the last to the first slices"),
        Figure("workers after scaling in", into.workers, at_least=1, at_most=1),
        Figure("latency, in, to before", into.latency, note="mean of the last to the first slices"),
        Figure("requests that failed", out.failed + into.failed, at_most=0),
    ]
    return Part(
        "scaling",
        "cpu_optimization scales the predictor out, and in again",
        "all real: predictor, load, the agent's decision and verification",
        figures,
        [{"scene": "out", "the agent": out.said}, {"scene": "in", "the agent": into.said}],
    )


def _settings(one_ms: float) -> dict[str, object]:
    return {
        "SERVING__LATENCY_OBJECTIVE_MS": f"{10 * one_ms:.3f}",
        "SERVING__QUEUE_LIMIT": 2000,
        # The crowd and the agent share the machine's cores with the workers.
        "PERFORMANCE__CPU_OPTIMIZATION__CPU_PERCENT": 75,
        "AGENT__COOLDOWN_SECONDS": 0,
        "AGENT__SETTLE_SECONDS": 5,
        "AGENT__VERIFY_SECONDS": 100,
    }


class _Scene:
    """One load, and what the agent made of it.

    Attributes:
        workers: how many run afterwards.
        busy: how busy each was, as a share of a core, before and after.
        latency: mean latency of the last slices to that of the first.
        failed: requests without an answer.
        said: what the agent answered.
    """

    def __init__(self, stage: Stage, rate: float, seed: int) -> None:
        self._stage = stage
        self._users = {MODEL: Users(stage.url_of(MODEL), rate, FEATURES)}
        self._seed = seed
        self.workers = self.latency = self.failed = 0.0
        self.busy: tuple[float, float] = (0.0, 0.0)
        self.said: object = ""

    def play(self, seconds: float, settings: Mapping[str, object]) -> _Scene:
        """Send the load for so long, let the agent tune, and look at what came of it."""
        crowd = send_crowd(self._users, seconds, slice_s=_SLICE_S, seed=self._seed)
        try:
            crowd.await_begin()
            before = self._busy()
            answer = self._stage.tune("cpu_optimization", looks=12, every_s=2.0, **settings)
            self.said = said(answer)
            time.sleep(_DRAINED_S)
            self.busy = before, self._busy()
            self.workers = float(len(self._stage.workers()))
            slices = crowd.result()[MODEL]
        finally:
            crowd.stop()
        first, last = slices[:_FEW], slices[-_FEW - 1 : -1]
        self.latency = mean_ms(last) / mean_ms(first)
        self.failed = float(sum(one.failed for one in slices))
        return self

    def _busy(self) -> float:
        return core_share(self._stage, _LOOKED_S) / len(self._stage.workers())
