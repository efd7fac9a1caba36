"""Builders for trials with known truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.trial import CONTINUE, judge_trial
from registry.records import ArmCounts, Look, MetricTotals, Variant
from registry.trial_config import ABTestConfig, Guardrail, GuardrailKind

RAILS = (
    Guardrail(kind=GuardrailKind.ERRORS, alpha=0.02),
    Guardrail(kind=GuardrailKind.LATENCY, alpha=0.02, objective_ms=50),
    Guardrail(kind=GuardrailKind.SAMPLE_RATIO, alpha=0.001),
)


def config(**changes: Any) -> ABTestConfig:  # noqa: ANN401 (any field, right or wrong)
    asked = {
        "test_id": "v1_vs_v2",
        "model": "digits",
        "model_a": 1,
        "model_b": 2,
        "traffic_split": 0.1,
        "duration_seconds": 200,
        "guardrails": RAILS,
    }
    return ABTestConfig(**{**asked, **changes})


def arm(n: int, right: float, *, errors: int = 0, slow: int = 0) -> ArmCounts:
    return ArmCounts(n, errors, slow, MetricTotals(n, right, right, None))


def arms(champion: ArmCounts, challenger: ArmCounts) -> dict[Variant, ArmCounts]:
    return {Variant.CHAMPION: champion, Variant.CHALLENGER: challenger}


def judge(
    asked: ABTestConfig,
    counts: Mapping[Variant, ArmCounts],
    previous: Sequence[Look] = (),
    elapsed_s: float = 100,
) -> Look:
    return judge_trial(asked, counts, previous, at=1e9 + elapsed_s, elapsed_s=elapsed_s)


@dataclass(frozen=True)
class Truth:
    """What both arms really do: share right, failing and slow."""

    right: tuple[float, float] = (0.8, 0.8)
    errors: tuple[float, float] = (0.002, 0.002)
    slow: tuple[float, float] = (0.05, 0.05)


def run(
    rng: np.random.Generator,
    asked: ABTestConfig,
    truth: Truth,
    *,
    looks: int = 20,
    batch: int = 300,
) -> list[Look]:
    """A whole trial until its verdict, a look every `duration / looks`."""
    total = np.zeros((2, 4), dtype=int)
    done: list[Look] = []
    for number in range(1, looks + 1):
        mine = int(rng.binomial(batch, asked.traffic_split))
        for i, n in enumerate((batch - mine, mine)):
            rates = (truth.errors[i], truth.slow[i], truth.right[i])
            total[i] += [n, *(int(rng.binomial(n, rate)) for rate in rates)]
        a, b = ([int(v) for v in row] for row in total)
        counts = arms(
            arm(a[0], float(a[3]), errors=a[1], slow=a[2]),
            arm(b[0], float(b[3]), errors=b[1], slow=b[2]),
        )
        elapsed = asked.duration_seconds * number / looks
        done.append(judge(asked, counts, done, elapsed))
        if done[-1].verdict != CONTINUE:
            break
    return done
